/** What is peculiar to Redis, on the server that REDIS_URL names; the cases are in redis-cases.ts. */
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../clock.ts';
import { redisFixture } from './conformance-fixture.ts';
import { createRedisEngine } from './engine.ts';
import { redisCases } from './redis-cases.ts';

const url = process.env['REDIS_URL'];
const context = { clock: systemClock, onFatal: () => {} };

describe.skipIf(!url)('Redis, the server itself (set REDIS_URL to run it)', () => {
  it.each(redisCases)('$name', async ({ run }) => {
    const fixture = await redisFixture(url ?? '')();
    try {
      await expect(run(fixture)).resolves.toBeUndefined();
    } finally {
      await fixture.destroy();
    }
  });

  it('refuses a message that is larger than allowed, before anything is sent', async () => {
    const fixture = await redisFixture(url ?? '')();
    const connection = await createRedisEngine({
      url: fixture.url,
      prefix: fixture.prefix,
      maxMessageBytes: 300,
    }).connect(context);
    const message = {
      id: 'm',
      type: 't',
      version: 1,
      source: '/s',
      time: '',
      data: 'ü'.repeat(150),
      headers: {},
    };
    await expect(connection.publish([{ channel: 't', message }])).rejects.toMatchObject({
      code: 'DB_MSG_MESSAGE_TOO_LARGE',
    });
    await connection.close();
    await fixture.destroy();
  });
});

describe('Redis, without a server', () => {
  it('rejects the connect as retryable when nobody listens', async () => {
    // The discard port: nothing of ours listens there.
    await expect(createRedisEngine({ url: 'redis://127.0.0.1:9' }).connect(context)).rejects.toMatchObject({
      code: 'DB_MSG_ENGINE_UNREACHABLE',
      retryable: true,
    });
  });

  it('refuses a prefix that could not be told from the rest of a key', () => {
    expect(() => createRedisEngine({ url: 'redis://127.0.0.1', prefix: 'a:b' })).toThrow(/prefix/);
  });
});
