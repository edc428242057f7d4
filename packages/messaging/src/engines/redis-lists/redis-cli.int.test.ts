/** What operators and other languages do, with the real redis-cli: it pushes what the toolkit handles, and pops what the toolkit wrote. */
import { afterAll, describe, expect, it } from 'vitest';
import { createBus } from '../../bus.ts';
import { plain } from '../../conformance/channels.ts';
import { collecting, eventOf, hasRedisCli, redisCliOn } from '../../redis/testing/redis-cli.ts';
import { createRedisListsEngine } from './engine.ts';

const url = process.env['REDIS_URL'] ?? '';

describe.skipIf(!url || !hasRedisCli)(
  'redis-cli beside our lists (set REDIS_URL and install redis-tools to run it)',
  () => {
    const { prefix, run, clean } = redisCliOn(url);
    const list = `${prefix}:list:${plain.name}`;
    const engine = () => createRedisListsEngine({ url, prefix });
    afterAll(clean);

    it('LPUSH is handled, and RPOP reads ours as a CloudEvent', async () => {
      const { bus, got } = await collecting(engine(), plain);
      run('LPUSH', list, eventOf(plain));
      expect(await got.waitFor(1)).toEqual(['from-cli']);
      await bus.stop();
      const speaker = createBus({ engine: engine(), source: '/cli' });
      speaker.declare([plain]);
      await speaker.start();
      const { id } = await speaker.publish(plain, { n: 2 });
      expect(JSON.parse(run('RPOP', list))).toMatchObject({ specversion: '1.0', id, data: { n: 2 } });
      await speaker.stop();
    });
  },
);
