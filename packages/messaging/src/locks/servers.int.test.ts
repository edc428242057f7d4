/** What single lock engines need of their real servers, beside the contract of all of them. */
import { getEventListeners } from 'node:events';
import { createClient } from 'redis';
import { expect, it, onTestFinished } from 'vitest';
import { newName } from '../conformance/lock-cases.ts';
import { createRedisLockEngine } from './redis.ts';
import { createZookeeperLockEngine } from './zookeeper.ts';

const { REDIS_URL, ZOOKEEPER_URL } = process.env;

it.skipIf(!REDIS_URL)(
  'Redis: a key of another kind is told as what it is (set REDIS_URL to run it)',
  async () => {
    const client = createClient({ url: REDIS_URL ?? '' });
    await client.connect();
    const name = newName();
    onTestFinished(async () => {
      await client.del(`lock:{${name}}`);
      client.destroy();
    });
    await client.rPush(`lock:{${name}}`, 'not a lock');
    const engine = createRedisLockEngine({ client });
    await expect(engine.renew({ name, owner: 'me', fence: 1n }, 1_000)).rejects.toMatchObject({
      code: 'DB_MSG_ENGINE_FAILED',
      retryable: false,
    });
  },
);

it.skipIf(!ZOOKEEPER_URL)(
  'ZooKeeper: a waiter leaves nothing at the session (set ZOOKEEPER_URL to run it)',
  async () => {
    const engine = createZookeeperLockEngine({ servers: ZOOKEEPER_URL ?? '', root: `/${newName()}` });
    onTestFinished(() => engine.close());
    const listeners: number[] = [];
    for (let round = 0; round < 5; round += 1) {
      const owner = `me-${round}`;
      const grant = await engine.tryAcquire('a', owner, 5_000);
      if (!grant?.gone) throw new Error('no grant');
      const over = new AbortController();
      const freed = engine.freed?.('a', over.signal);
      await engine.release({ name: 'a', owner, fence: grant.fence });
      await freed;
      listeners.push(getEventListeners(grant.gone, 'abort').length);
      expect(getEventListeners(over.signal, 'abort')).toEqual([]);
    }
    expect(new Set(listeners)).toEqual(new Set([listeners[0]]));
  },
);
