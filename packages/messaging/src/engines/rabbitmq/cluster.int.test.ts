/** Three nodes, one of them killed under load: nothing confirmed is lost, keys keep their order, and an inbox handles everything once. */
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import Type from 'typebox';
import { type Bus, createBus } from '../../bus.ts';
import { defineChannel } from '../../channel.ts';
import { systemClock } from '../../clock.ts';
import { eventually } from '../../conformance/fixture.ts';
import { createIds } from '../../ids.ts';
import { alreadyHandled, inboxSchema } from '../../inbox.ts';
import { ack } from '../../outcome.ts';
import { createRabbitEngine } from './engine.ts';
import { hasRabbitProgram, type OwnBroker, startOwnBroker } from './own-broker.ts';

const KEYS = ['a', 'b', 'c', 'd', 'e', 'f'];
const ROUNDS = 120;
const schema = Type.Object({ n: Type.Integer() });
const inOrder = defineChannel({
  name: 'in.order',
  version: 1,
  schema,
  order: 'key',
  requires: { emulation: ['order'] },
});
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

    it('one node killed under load: lost 0, order per key kept, handled twice behind the inbox 0', async () => {
      const inbox = new DatabaseSync(':memory:');
      inbox.exec(inboxSchema);
      const handled: { readonly key: string; readonly n: number }[] = [];
      const buses: Bus[] = [];
      // Each begins at another node, so that every node has publishers and consumers when one is killed.
      for (const first of [0, 1, 2]) {
        const urls = [...broker.urls.slice(first), ...broker.urls.slice(0, first)];
        const engine = createRabbitEngine({ url: urls, prefix: 'cluster.', confirmTimeoutMs: 10_000 });
        const bus = createBus({ engine, source: `/node/${first}` });
        bus.declare([inOrder]);
        await bus.start();
        buses.push(bus);
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
        const publishing = KEYS.map(async (key, index) => {
          for (let n = 0; n < ROUNDS; n += 1) {
            await publishSurely(buses[index % buses.length] as Bus, key, n, ids.next());
            if (key === 'a' && n === Math.floor(ROUNDS / 3)) await broker.kill(2);
          }
        });
        await Promise.all(publishing);
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
  },
);
