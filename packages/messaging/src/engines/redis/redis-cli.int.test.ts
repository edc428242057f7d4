/** What operators and other languages do, with the real redis-cli: it writes what the toolkit handles, and reads what the toolkit wrote, in plain streams and in shards. */
import { afterAll, describe, expect, it } from 'vitest';
import { plain, sequenced } from '../../conformance/channels.ts';
import { collecting, eventOf, hasRedisCli, redisCliOn } from '../../redis/testing/redis-cli.ts';
import { createRedisEngine } from './engine.ts';
import { shardOf, streamOf } from './redis-case-parts.ts';

const url = process.env['REDIS_URL'] ?? '';
const SHARDS = 4;
const KEY = 'ada';

describe.skipIf(!url || !hasRedisCli)(
  'redis-cli beside us (set REDIS_URL and install redis-tools to run it)',
  () => {
    const { prefix, run, clean } = redisCliOn(url);
    const engine = () => createRedisEngine({ url, prefix, shards: SHARDS });
    afterAll(clean);

    /** Events that its group has not read yet. */
    const readBy = (group: string, stream: string): readonly unknown[] =>
      run('XREADGROUP', 'GROUP', group, 'me', 'COUNT', '10', 'STREAMS', stream, '>')
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as unknown);

    it('XADD is handled, and XREADGROUP of a group of its own reads ours as a CloudEvent', async () => {
      const stream = streamOf({ prefix }, plain.name);
      const { bus, got } = await collecting(engine(), plain);
      run('XGROUP', 'CREATE', stream, 'cli', '$');
      run('XADD', stream, '*', 'event', eventOf(plain));
      expect(await got.waitFor(1)).toEqual(['from-cli']);
      const { id } = await bus.publish(plain, { n: 2 });
      expect(readBy('cli', stream)).toMatchObject([
        { id: 'from-cli' },
        { specversion: '1.0', id, type: plain.name, data: { n: 2 } },
      ]);
      await bus.stop();
    });

    it('XADD to a channel with shards is handled from the shard of its key, where XREADGROUP reads it and ours', async () => {
      const stream = streamOf({ prefix }, sequenced.name);
      const shard = shardOf({ prefix, shards: SHARDS }, sequenced.name, KEY);
      const { bus, got } = await collecting(engine(), sequenced);
      run('XGROUP', 'CREATE', shard, 'cli', '$', 'MKSTREAM');
      run('XADD', stream, '*', 'event', eventOf(sequenced, { partitionkey: KEY }));
      expect(await got.waitFor(1)).toEqual(['from-cli']);
      const { id } = await bus.publish(sequenced, { n: 2 }, { key: KEY });
      expect(await got.waitFor(2)).toEqual(['from-cli', id]);
      expect(readBy('cli', shard)).toMatchObject([
        { id: 'from-cli', partitionkey: KEY },
        { specversion: '1.0', id, type: sequenced.name, partitionkey: KEY, data: { n: 2 } },
      ]);
      await bus.stop();
    });
  },
);
