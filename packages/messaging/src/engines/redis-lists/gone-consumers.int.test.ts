/**
 * What consumers that are gone cost those that are there. They stay known for a minute, because a move of theirs may still be on its way, and every claim asks for
 * each. On a server of this file's own, which counts the commands of its scripts and has nobody else's among them.
 */
import assert from 'node:assert/strict';
import { describe, expect, it } from 'vitest';
import { createBus } from '../../bus.ts';
import { plain } from '../../conformance/channels.ts';
import { registerControls } from '../../conformance/controls.ts';
import { Collector, numbers } from '../../conformance/fixture.ts';
import { ack } from '../../outcome.ts';
import { type OpenClient, openClient } from '../../redis/client.ts';
import { hasServerProgram, type OwnServer, startOwnServer } from '../../redis/testing/own-server.ts';
import { redisListsEngineOn } from './engine.ts';
import { planting } from '../../redis/testing/planted-scripts.ts';
import { listsScriptTexts } from './scripts.ts';

const GONE = 100;
const prefix = 'gone';

/** How often leases were read while one message came and went; each script reads them once for itself. */
async function readsOfLeases(server: OwnServer, open: OpenClient): Promise<number> {
  const bus = createBus({
    engine: redisListsEngineOn(open, { url: server.url, prefix }),
    source: '/lists',
  });
  bus.declare([plain]);
  await bus.start();
  const got = new Collector<number>();
  await bus.subscribe(plain, {
    name: 'one',
    handler({ data }) {
      got.add(data.n);
      return ack();
    },
  }).started;
  const [seconds] = (await server.raw('TIME')) as readonly string[];
  // Their beats are over, and long from forgotten.
  const gone = numbers(1, GONE).flatMap((n) => [String((Number(seconds) - 5) * 1000), `gone-${n}`]);
  await server.raw('ZADD', `${prefix}:lists:${plain.name}:consumers`, ...gone);
  await server.raw('CONFIG', 'RESETSTAT');
  await bus.publish(plain, { n: 1 });
  await got.waitFor(1);
  await bus.stop();
  const stats = String(await server.raw('INFO', 'commandstats'));
  assert.match(stats, /cmdstat_exists:calls=\d{3}/, 'the claims asked for those that are gone');
  return Number(/cmdstat_zrange:calls=(\d+)/.exec(stats)?.[1] ?? 0);
}

async function costsNothing(open: OpenClient): Promise<void> {
  const server = await startOwnServer();
  try {
    const reads = await readsOfLeases(server, open);
    assert.ok(reads < GONE, `leases were read ${reads} times with ${GONE} consumers gone`);
  } finally {
    await server.destroy();
  }
}

const defect = {
  name: 'every claim looks through the leases for each consumer that is gone',
  from: `if redis.call('EXISTS', takenOf(consumer)) == 0 then return 0 end`,
  to: `redis.call('EXISTS', takenOf(consumer))`,
};

describe.skipIf(!hasServerProgram())(
  'consumers of lists that are gone (install redis-server to run it)',
  { timeout: 30_000 },
  () => {
    registerControls(it, 'redis-lists', [
      {
        defect: defect.name,
        caughtBy:
          'a consumer that is gone and holds nothing costs a claim one look, however many hand-outs there are',
        healthy: () => costsNothing(openClient),
        defective: () => costsNothing(planting(defect)),
      },
    ]);

    it('and the scripts say what is replaced', () => {
      expect(listsScriptTexts().some((text) => text.includes(defect.from))).toBe(true);
    });
  },
);
