/** What is peculiar to Redis, on the server that REDIS_URL names; the cases are in redis-cases.ts. */
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../clock.ts';
import { redisFixture } from './conformance-fixture.ts';
import { createRedisEngine } from './engine.ts';
import { openClient } from '../../redis/client.ts';
import { endsWhatComesTooLate, LateConnections } from '../../redis/testing/late-connection.ts';
import { awayCases } from './away-cases.ts';
import { redisCases } from './redis-cases.ts';
import { shardCases } from './redis-shard-cases.ts';
import { shardTroubleCases } from './shard-trouble-cases.ts';

const url = process.env['REDIS_URL'];
const context = { clock: systemClock, onFatal: () => {} };

describe.skipIf(!url)('Redis, the server itself (set REDIS_URL to run it)', () => {
  it.each([...redisCases, ...awayCases, ...shardCases, ...shardTroubleCases])('$name', async ({ run }) => {
    const fixture = await redisFixture(url ?? '')();
    try {
      await expect(run(fixture)).resolves.toBeUndefined();
    } finally {
      await fixture.destroy();
    }
  });

  it.each(redisCases.filter(({ name }) => /key|claim|heartbeat/.test(name)))(
    'without shards: $name',
    async ({ run }) => {
      const fixture = await redisFixture(url ?? '', openClient, { shards: 0 })();
      try {
        await expect(run(fixture)).resolves.toBeUndefined();
      } finally {
        await fixture.destroy();
      }
    },
  );

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

  it('ends the connection of a consumer that comes when the engine has been closed', async () => {
    const connections = new LateConnections();
    const fixture = await redisFixture(url ?? '', connections.openClient)();
    try {
      await expect(endsWhatComesTooLate(fixture.open(), connections)).resolves.toBeUndefined();
    } finally {
      await fixture.destroy();
    }
  });
});

describe.skipIf(!url)('a Redis that refuses (set REDIS_URL to run it)', () => {
  const at = (change: (address: URL) => void): string => {
    const address = new URL(url ?? '');
    change(address);
    return address.toString();
  };

  it.each([
    [
      'a database it does not have',
      (address: URL): void => void (address.pathname = '/9999'),
      'DB_MSG_INVALID_OPTIONS',
      'DB index',
    ],
    [
      'a stranger',
      (address: URL): void => void (address.username = 'nobody'),
      'DB_MSG_ENGINE_REFUSED',
      'WRONGPASS',
    ],
  ] as const)('%s', async (_, change, code, words) => {
    const strange = at((address) => {
      address.password = 'wrong';
      if (code === 'DB_MSG_INVALID_OPTIONS') address.password = new URL(url ?? '').password;
      change(address);
    });
    await expect(createRedisEngine({ url: strange }).connect(context)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(words),
    });
  });
});

describe('Redis, without a server', () => {
  it('refuses a database that is no number, without showing the secret of the URL', async () => {
    const url = 'redis://user:secret@127.0.0.1:9/orders';
    await expect(createRedisEngine({ url }).connect(context)).rejects.toMatchObject({
      code: 'DB_MSG_INVALID_OPTIONS',
      message: expect.not.stringContaining('secret'),
    });
  });

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
