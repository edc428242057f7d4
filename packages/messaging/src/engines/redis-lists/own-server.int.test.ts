/** Lists on a server that dies: on one of this file's own, which is killed under load. */
import { afterEach, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../../bus.ts';
import { systemClock } from '../../clock.ts';
import { plain } from '../../conformance/channels.ts';
import { Collector, eventually, numbers } from '../../conformance/fixture.ts';
import { createIds } from '../../ids.ts';
import { ack } from '../../outcome.ts';
import { createRedisListsEngine } from './engine.ts';
import { hasServerProgram, type OwnServer, startOwnServer } from '../../redis/testing/own-server.ts';

const COUNT = 150;
/** That many were handed out when the server is killed for the third time. */
const KILLED_AT = 20;
const ids = createIds(systemClock);
const servers: OwnServer[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) await server.destroy();
});

/** Again with the same id as long as the engine says that it may. */
async function publishSurely(bus: Bus, n: number): Promise<void> {
  const id = ids.next();
  const publish = (): Promise<boolean> =>
    bus.publish(plain, { n }, { id }).then(
      () => true,
      (error: unknown) => {
        if ((error as { retryable?: boolean }).retryable !== true) throw error;
        return false;
      },
    );
  await eventually(publish, (isConfirmed) => isConfirmed, `the confirm of ${n}`);
}

/**
 * Kills the server twice while messages are published and once while they are handled. Resolves, when `atLeast` of them were handled, with those that were
 * confirmed and not handled.
 */
async function missingAfterKills(settings: readonly string[], atLeast: number): Promise<readonly number[]> {
  const server = await startOwnServer(...settings);
  servers.push(server);
  const bus = createBus({ engine: createRedisListsEngine({ url: server.url }), source: '/lists' });
  bus.declare([plain]);
  await bus.start();
  for (const n of numbers(1, COUNT)) {
    await publishSurely(bus, n);
    if (n === COUNT / 3 || n === (2 * COUNT) / 3) await server.restart();
  }
  // Begins only now: what the kills took is not handled before they come.
  const got = new Collector<number>();
  await bus.subscribe(plain, {
    name: 'one',
    concurrency: 4,
    leaseMs: 2_000,
    async handler({ data }) {
      got.add(data.n);
      if (got.values.length === KILLED_AT) await server.restart();
      return ack();
    },
  }).started;
  await eventually(
    async () => new Set(got.values).size,
    (size) => size >= atLeast,
    'what the server kept',
  );
  await bus.stop();
  const seen = new Set(got.values);
  return numbers(1, COUNT).filter((n) => !seen.has(n));
}

describe.skipIf(!hasServerProgram())(
  'Redis lists on a server of our own (install redis-server to run it)',
  { timeout: 60_000 },
  () => {
    it('a server killed under load, its file synced at every write: everything confirmed is handled', async () => {
      const settings = ['--appendonly', 'yes', '--appendfsync', 'always'];
      expect(await missingAfterKills(settings, COUNT)).toEqual([]);
    });

    it('control: without a file the same kills lose what was confirmed, and this test sees it', async () => {
      const missing = await missingAfterKills(['--appendonly', 'no'], KILLED_AT);
      expect(missing).toEqual(expect.arrayContaining([...numbers(1, (2 * COUNT) / 3)]));
    });
  },
);
