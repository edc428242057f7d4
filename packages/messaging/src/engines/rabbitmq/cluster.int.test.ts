/**
 * Three nodes, and the one that leads the queues is killed under load: nothing confirmed is lost, keys keep their order, an inbox handles everything once,
 * and who comes during the outage can start.
 */
import { DatabaseSync } from 'node:sqlite';
import { type ChannelModel, type ConfirmChannel, connect } from 'amqplib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../../bus.ts';
import { systemClock } from '../../clock.ts';
import { registerControls } from '../../conformance/controls.ts';
import { eventually, settleIn, signal } from '../../conformance/fixture.ts';
import { createIds } from '../../ids.ts';
import { alreadyHandled, inboxSchema } from '../../inbox.ts';
import { ack } from '../../outcome.ts';
import { inOrder, orders } from './conformance-fixture.ts';
import { createRabbitEngine } from './engine.ts';
import { hasRabbitProgram, type OwnBroker, startOwnBroker } from './own-broker.ts';

const KEYS = ['a', 'b', 'c', 'd', 'e', 'f'];
const ROUNDS = 120;
/** A queue of three has a new leader in far less. */
const BACK_WITHIN_MS = 10_000;
const ids = createIds(systemClock);

/** Again with the same id until it is confirmed, as a relay does. */
async function publishSurely(bus: Bus, key: string, n: number, id: string): Promise<void> {
  const publish = (): Promise<boolean> =>
    bus.publish(inOrder, { n }, { key, id }).then(
      () => true,
      (error: unknown) => {
        if ((error as { retryable?: boolean }).retryable === true) return false;
        throw error;
      },
    );
  await eventually(publish, (isConfirmed) => isConfirmed, `the confirm of ${key} ${n}`);
}

/** The node, from 1, that leads most of the subscription's queues. A node that leads nothing dies without a word. */
async function leaderOf(broker: OwnBroker, prefix: string): Promise<number> {
  const listed = await broker.ctl('list_queues', 'name', 'leader');
  const leaders = listed
    .split('\n')
    .filter((line) => line.startsWith(prefix))
    .map((line) => Number(/doorbuster(\d)@/.exec(line)?.[1]));
  const led = (node: number): number => leaders.filter((one) => one === node).length;
  return [1, 2, 3].toSorted((a, b) => led(b) - led(a))[0] as number;
}

/** Declares a durable queue of this type on one node, and says how it went. */
async function declareOn(url: string, type: 'classic' | 'quorum'): Promise<string> {
  const model = await connect(url);
  try {
    const channel = await model.createChannel();
    channel.on('error', () => {});
    const arguments_ = { 'x-queue-type': type };
    await channel.assertQueue(`control.${type}`, { durable: true, arguments: arguments_ });
    return 'declared';
  } catch (error) {
    return (error as Error).message;
  } finally {
    await model.close();
  }
}

/** Whoever opens a channel for publishing gets the one it has already. */
async function keepingItsChannel(url: string, run: () => Promise<void>): Promise<void> {
  const model = await connect(url);
  const prototype = Object.getPrototypeOf(model) as ChannelModel;
  await model.close();
  const real = prototype.createConfirmChannel;
  const kept = new WeakMap<ChannelModel, ConfirmChannel>();
  prototype.createConfirmChannel = async function createConfirmChannel(this: ChannelModel) {
    const channel = kept.get(this) ?? (await Reflect.apply(real, this, []));
    kept.set(this, channel);
    channel.close = async () => {};
    return channel;
  };
  try {
    await run();
  } finally {
    prototype.createConfirmChannel = real;
  }
}

/** One turn of the event loop, so that handlers overlap. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe.skipIf(!hasRabbitProgram())(
  'a cluster of three (needs rabbitmq-server on this machine)',
  { timeout: 240_000 },
  () => {
    let broker: OwnBroker;
    beforeAll(async () => {
      broker = await startOwnBroker({ cluster: true });
    }, 180_000);
    afterAll(() => broker?.destroy(), 60_000);

    it('the node that leads is killed under load: lost 0, order per key kept, handled twice behind the inbox 0, and a newcomer starts', async () => {
      const inbox = new DatabaseSync(':memory:');
      inbox.exec(inboxSchema);
      const handled: { readonly key: string; readonly n: number }[] = [];
      const buses: Bus[] = [];
      const join = async (first: number, source: string): Promise<Bus> => {
        const urls = [...broker.urls.slice(first), ...broker.urls.slice(0, first)];
        const engine = createRabbitEngine({ url: urls, prefix: 'cluster.', confirmTimeoutMs: 10_000 });
        const bus = createBus({ engine, source });
        buses.push(bus);
        bus.declare([inOrder]);
        await bus.start();
        return bus;
      };
      // Each begins at another node, so that every node has publishers and consumers when one is killed.
      for (const first of [0, 1, 2]) {
        const bus = await join(first, `/node/${first}`);
        await bus.subscribe(inOrder, {
          name: 'one',
          concurrency: 4,
          handler: async ({ id, key = '', data }) => {
            await turn();
            inbox.exec('BEGIN IMMEDIATE');
            const isRepeat = alreadyHandled(inbox, {
              subscription: 'one',
              messageId: id,
              now: systemClock.now(),
            });
            if (!isRepeat) handled.push({ key, n: data.n });
            inbox.exec('COMMIT');
            return ack();
          },
        }).started;
      }
      try {
        const leader = await leaderOf(broker, 'cluster.in.order/s/one/');
        const killing = signal();
        for (const type of ['classic', 'quorum'] as const)
          expect(await declareOn(broker.urls[leader - 1] as string, type)).toBe('declared');
        const publishing = KEYS.map(async (key, index) => {
          for (let n = 0; n < ROUNDS; n += 1) {
            await publishSurely(buses[index % 3] as Bus, key, n, ids.next());
            if (key === 'a' && n === Math.floor(ROUNDS / 3)) {
              await broker.kill(leader);
              killing.fire();
            }
          }
        });
        await killing.fired;
        await Promise.all([...publishing, join(leader % 3, '/newcomer')]);
        // The control: what the newcomer would have met, had it needed a durable classic queue of that node.
        expect(await declareOn(broker.urls[leader % 3] as string, 'quorum')).toBe('declared');
        expect(await declareOn(broker.urls[leader % 3] as string, 'classic')).toContain(
          'down or inaccessible',
        );
        await eventually(
          async () => handled.length,
          (count) => count >= KEYS.length * ROUNDS,
          'every message handled',
        );
        expect(handled).toHaveLength(KEYS.length * ROUNDS);
        for (const key of KEYS)
          expect(
            handled.filter((one) => one.key === key).map(({ n }) => n),
            key,
          ).toEqual(Array.from({ length: ROUNDS }, (_, n) => n));
      } finally {
        await Promise.all(buses.map((bus) => bus.stop({ drainMs: 2_000 })));
        inbox.close();
      }
    });

    /** A queue led by the first node, which is killed; only then others publish to it for the first time, on channels that were open before. */
    async function publishesAfterTheKill(prefix: string): Promise<void> {
      await broker.start();
      const buses: Bus[] = [];
      const open = async (url: string | undefined): Promise<Bus> => {
        const engine = createRabbitEngine({ url: url ?? '', prefix, ladderPrefix: 'cluster.' });
        const bus = createBus({ engine, source: '/first' });
        buses.push(bus);
        bus.declare([orders]);
        await bus.start();
        return bus;
      };
      try {
        const declaring = await open(broker.urls[0]);
        await settleIn(declaring.subscribe(orders, { name: 'one', handler: () => ack() }));
        await declaring.stop();
        expect(await leaderOf(broker, `${prefix}orders/s/one`)).toBe(1);
        const others = await Promise.all([1, 1, 2, 2].map((node) => open(broker.urls[node])));
        const killing = broker.kill(1);
        const firsts = await Promise.allSettled(others.map((bus) => bus.publish(orders, { n: 1 })));
        await killing;
        const refused = firsts.flatMap((one) => (one.status === 'rejected' ? [one.reason as Error] : []));
        expect(refused.map(({ message }) => message).join()).toContain('the broker refused the message');
        const end = systemClock.monotonic() + BACK_WITHIN_MS;
        for (const bus of others)
          await eventually(
            () =>
              bus.publish(orders, { n: 2 }).then(
                () => undefined,
                (error: unknown) => {
                  if (systemClock.monotonic() > end) throw error;
                  return error;
                },
              ),
            (error) => error === undefined,
            'a confirm',
          );
      } finally {
        await Promise.all(buses.map((bus) => bus.stop({ drainMs: 0 }).catch(() => {})));
      }
    }

    registerControls(it, 'rabbitmq', [
      {
        defect: 'keeps the channel on which the broker refused a message',
        caughtBy:
          'who publishes to a queue for the first time while it has no leader is refused, and is taken when it has one',
        healthy: () => publishesAfterTheKill('first.'),
        defective: () => keepingItsChannel(broker.urls[1] ?? '', () => publishesAfterTheKill('first.again.')),
      },
    ]);
  },
);
