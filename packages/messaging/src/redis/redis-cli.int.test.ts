/** What operators and other languages do, with the real redis-cli: it writes what the toolkit handles, and reads what the toolkit wrote. */
import { execFileSync, spawnSync } from 'node:child_process';
import { afterAll, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../bus.ts';
import { systemClock } from '../clock.ts';
import { plain } from '../conformance/channels.ts';
import { Collector } from '../conformance/fixture.ts';
import type { Engine } from '../engine.ts';
import { createIds } from '../ids.ts';
import { ack } from '../outcome.ts';
import { createRedisEngine } from '../engines/redis/engine.ts';
import { createRedisListsEngine } from '../engines/redis-lists/engine.ts';

const url = process.env['REDIS_URL'];
const hasCli = spawnSync('redis-cli', ['--version']).status === 0;
const prefix = `cli-${createIds(systemClock).next()}`;
const cli = (...args: readonly string[]): string =>
  execFileSync('redis-cli', ['-u', url ?? '', '--raw', ...args], { encoding: 'utf8' }).trim();
const event = JSON.stringify({
  specversion: '1.0',
  id: 'from-cli',
  type: plain.name,
  source: '/cli',
  data: { n: 1 },
});

async function collecting(engine: Engine): Promise<{ readonly bus: Bus; readonly got: Collector<string> }> {
  const bus = createBus({ engine, source: '/cli' });
  const got = new Collector<string>();
  bus.declare([plain]);
  bus.subscribe(plain, {
    name: 'one',
    handler: ({ id }) => {
      got.add(id);
      return ack();
    },
  });
  await bus.start();
  return { bus, got };
}

describe.skipIf(!url || !hasCli)(
  'redis-cli beside us (set REDIS_URL and install redis-tools to run it)',
  () => {
    const stream = `${prefix}:stream:${plain.name}`;
    const list = `${prefix}:list:${plain.name}`;
    afterAll(() => {
      const keys = cli('--scan', '--pattern', `${prefix}:*`).split('\n').filter(Boolean);
      if (keys.length > 0) cli('DEL', ...keys);
    });

    it('XADD is handled, and XREADGROUP of a group of its own reads ours as a CloudEvent', async () => {
      const { bus, got } = await collecting(createRedisEngine({ url: url ?? '', prefix }));
      cli('XGROUP', 'CREATE', stream, 'cli', '$');
      cli('XADD', stream, '*', 'event', event);
      expect(await got.waitFor(1)).toEqual(['from-cli']);
      const { id } = await bus.publish(plain, { n: 2 });
      const lines = cli('XREADGROUP', 'GROUP', 'cli', 'me', 'COUNT', '10', 'STREAMS', stream, '>').split(
        '\n',
      );
      const events = lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as object);
      expect(events).toMatchObject([
        { id: 'from-cli' },
        { specversion: '1.0', id, type: plain.name, data: { n: 2 } },
      ]);
      await bus.stop();
    });

    it('LPUSH is handled, and RPOP reads ours as a CloudEvent', async () => {
      const { bus, got } = await collecting(createRedisListsEngine({ url: url ?? '', prefix }));
      cli('LPUSH', list, event);
      expect(await got.waitFor(1)).toEqual(['from-cli']);
      await bus.stop();
      const speaker = createBus({
        engine: createRedisListsEngine({ url: url ?? '', prefix }),
        source: '/cli',
      });
      speaker.declare([plain]);
      await speaker.start();
      const { id } = await speaker.publish(plain, { n: 2 });
      expect(JSON.parse(cli('RPOP', list))).toMatchObject({ specversion: '1.0', id, data: { n: 2 } });
      await speaker.stop();
    });
  },
);
