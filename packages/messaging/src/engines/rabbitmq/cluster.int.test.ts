/**
 * Three nodes, and the one that leads the queues is killed under load: nothing confirmed is lost, keys keep their order, an inbox handles everything once,
 * and who comes during the outage can start. Each case with a defence off, so that it has to fail.
 */
import { DatabaseSync } from 'node:sqlite';
import { type ChannelModel, type ConfirmChannel, connect } from 'amqplib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../../bus.ts';
import { systemClock } from '../../clock.ts';
import { registerControls } from '../../conformance/controls.ts';
import { Collector, eventually, settleIn, signal } from '../../conformance/fixture.ts';
import { createIds } from '../../ids.ts';
import { alreadyHandled, inboxSchema } from '../../inbox.ts';
import { ack } from '../../outcome.ts';
import { inOrder, orders } from './conformance-fixture.ts';
import { createRabbitEngine } from './engine.ts';
import { hasRabbitProgram, type OwnBroker, startOwnBroker } from './own-broker.ts';
import { confirmingAtOnce, withDefect } from './wire-defects.ts';

/** One for each of the eight partitions, so that every node's consumer has some of them. */
const KEYS = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
const ROUNDS = 90;
/** When all keys are so far, the node is killed; what its consumer has in hand then is held until it is gone, and so comes again. */
const KILL_AT = 30;
/** A queue of three has a new leader in far less. */
const BACK_WITHIN_MS = 6_000;
const ids = createIds(systemClock);

/** Again with the same id until it is confirmed, as a relay does. */
async function publishSurely(
  bus: Bus,
  { key, n, onRefused }: { readonly key: string; readonly n: number; readonly onRefused: () => void },
): Promise<void> {
  const id = ids.next();
  const publish = (): Promise<boolean> =>
    bus.publish(inOrder, { n }, { key, id }).then(
      () => true,
      (error: unknown) => {
        if ((error as { retryable?: boolean }).retryable !== true) throw error;
        onRefused();
        return false;
      },
    );
  await eventually(publish, (isConfirmed) => isConfirmed, `the confirm of ${key} ${n}`);
}

/** For each queue of the subscription the node, from 1, that leads it. */
async function leadersOf(broker: OwnBroker, prefix: string): Promise<readonly number[]> {
  const [name, place] = ['element(4, amqqueue:get_name(Q))', 'amqqueue:get_pid(Q)'];
  const line = `[binary_to_list(${name}), " ", atom_to_list(element(2, ${place})), ";"]`;
  const listed = await broker.evaluate(
    `lists:flatten([${line} || Q <- rabbit_amqqueue:list(), is_tuple(${place})]).`,
  );
  return listed
    .replaceAll('"', '')
    .split(';')
    .filter((one) => one.startsWith(prefix))
    .map((one) => Number(/doorbuster(\d)@/.exec(one)?.[1]));
}

/** The node that leads most of the subscription's queues. A node that leads nothing dies without a word. */
async function leaderOf(broker: OwnBroker, prefix: string): Promise<number> {
  const leaders = await leadersOf(broker, prefix);
  const led = (node: number): number => leaders.filter((one) => one === node).length;
  return [1, 2, 3].toSorted((a, b) => led(b) - led(a))[0] as number;
}

/** Declares a durable queue of this type on one node, and says how it went. */
async function declareOn(url: string, type: 'classic' | 'quorum', prefix: string): Promise<string> {
  const model = await connect(url);
  try {
    const channel = await model.createChannel();
    channel.on('error', () => {});
    const arguments_ = { 'x-queue-type': type };
    await channel.assertQueue(`${prefix}control.${type}`, { durable: true, arguments: arguments_ });
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

interface Effect {
  readonly key: string;
  readonly n: number;
}

/** What was handled, and what of it took effect behind an inbox. */
interface Effects {
  readonly all: Effect[];
  readonly behindInbox: Effect[];
}

function assertOnceInOrder(effects: readonly Effect[]): void {
  for (const key of KEYS)
    expect(
      effects.filter((one) => one.key === key).map(({ n }) => n),
      key,
    ).toEqual(Array.from({ length: ROUNDS + 1 }, (_, n) => n));
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

    async function killedUnderLoad(prefix: string): Promise<Effects> {
      const inbox = new DatabaseSync(':memory:');
      inbox.exec(inboxSchema);
      const effects: Effects = { all: [], behindInbox: [] };
      const felt = { refusals: 0, repeats: 0 };
      const isGone = signal();
      const held = new Collector<string>();
      let leader = 0;
      const buses: Bus[] = [];
      const join = async (first: number, source: string): Promise<Bus> => {
        const urls = [...broker.urls.slice(first), ...broker.urls.slice(0, first)];
        const engine = createRabbitEngine({
          url: urls,
          prefix,
          ladderPrefix: 'cluster.',
          confirmTimeoutMs: 10_000,
        });
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
            if (first === leader - 1 && data.n === KILL_AT - 1) {
              held.add(`${key} ${data.n}`);
              await isGone.fired;
            }
            inbox.exec('BEGIN IMMEDIATE');
            const isRepeat = alreadyHandled(inbox, {
              subscription: 'one',
              messageId: id,
              now: systemClock.now(),
            });
            if (isRepeat) felt.repeats += 1;
            else effects.behindInbox.push({ key, n: data.n });
            effects.all.push({ key, n: data.n });
            inbox.exec('COMMIT');
            return ack();
          },
        }).started;
      }
      try {
        leader = await leaderOf(broker, `${prefix}in.order/s/one/`);
        const other = broker.urls[leader % 3] as string;
        const killing = signal();
        for (const type of ['classic', 'quorum'] as const)
          expect(await declareOn(broker.urls[leader - 1] as string, type, prefix)).toBe('declared');
        const onRefused = () => {
          felt.refusals += 1;
        };
        const publishing = KEYS.map(async (key, index) => {
          for (let n = 0; n < ROUNDS; n += 1) {
            if (n === KILL_AT) await killing.fired;
            await publishSurely(buses[index % 3] as Bus, { key, n, onRefused });
          }
        });
        await held.waitFor(1, 'messages in the hands of the node that is killed');
        const killed = broker.kill(leader);
        killing.fire();
        await killed;
        isGone.fire();
        await Promise.all([...publishing, join(leader % 3, '/newcomer')]);
        // The control: what the newcomer would have met, had it needed a durable classic queue of that node.
        expect(await declareOn(other, 'quorum', prefix)).toBe('declared');
        expect(await declareOn(other, 'classic', prefix)).toContain('down or inaccessible');
        // What is behind all others of its key says that nothing more comes. Its channel has never met a queue without a leader.
        await eventually(
          () => leadersOf(broker, `${prefix}in.order/s/one/`),
          (leaders) => !leaders.includes(leader),
          'a new leader for each queue',
        );
        const last = await join(leader % 3, '/last');
        await Promise.all(KEYS.map((key) => publishSurely(last, { key, n: ROUNDS, onRefused })));
        await eventually(
          async () => new Set(effects.all.flatMap(({ key, n }) => (n === ROUNDS ? [key] : []))).size,
          (count) => count === KEYS.length,
          'the last of each key',
        );
        assertOnceInOrder(effects.behindInbox);
        // A kill that nobody felt would have shown nothing.
        expect(felt.refusals, 'refusals').toBeGreaterThan(0);
        expect(felt.repeats, 'repeats').toBeGreaterThan(0);
      } finally {
        isGone.fire();
        await Promise.all(buses.map((bus) => bus.stop({ drainMs: 2_000 })));
        inbox.close();
        await broker.start();
      }
      return effects;
    }
    let running: Promise<Effects> | undefined;
    /** Once for all: what takes effect without an inbox is what came. */
    const killedOnce = (): Promise<Effects> => {
      running ??= killedUnderLoad('cluster.');
      return running;
    };

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

    const load =
      'the node that leads is killed under load: lost 0, order per key kept, handled twice behind the inbox 0, and a newcomer starts';
    // By itself too: a control brings nobody into a situation (scripts/engines/count.ts).
    it.each([load])('%s', async () => {
      await expect(killedOnce()).resolves.toBeDefined();
    });
    registerControls(it, 'rabbitmq', [
      {
        defect: 'does not wait for the confirm',
        caughtBy: load,
        healthy: killedOnce,
        defective: () =>
          withDefect(
            'pushConfirmCallback',
            confirmingAtOnce,
            async () => void (await killedUnderLoad('cluster.unconfirmed.')),
            broker.urls[0],
          ),
      },
      {
        defect: 'no inbox',
        caughtBy: load,
        healthy: killedOnce,
        defective: async () => assertOnceInOrder((await killedOnce()).all),
      },
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
