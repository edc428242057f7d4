/** Fixtures for the conformance suite on a real server: a prefix of its own each, and every key of it deleted at the end. */
import { systemClock } from '../../clock.ts';
import type { EngineFixture } from '../../conformance/fixture.ts';
import type { Engine } from '../../engine.ts';
import { createIds } from '../../ids.ts';
import { openClient, type RedisClient } from './client.ts';
import { createRedisEngine } from './engine.ts';

/** What a child process of the kill cases opens: the argument is `{ url, prefix }`. */
export function openEngine(argument: string): Engine {
  return createRedisEngine(JSON.parse(argument) as { url: string; prefix: string });
}

export async function withClient<T>(url: string, use: (client: RedisClient) => Promise<T>): Promise<T> {
  const client = await openClient({ url, name: 'conformance', connectTimeoutMs: 5_000 });
  try {
    return await use(client);
  } finally {
    client.end();
  }
}

export function redisFixture(url: string): () => Promise<EngineFixture & { readonly prefix: string }> {
  return async () => {
    const prefix = `conformance-${createIds(systemClock).next()}`;
    return {
      prefix,
      open: () => createRedisEngine({ url, prefix }),
      child: { module: new URL(import.meta.url), argument: JSON.stringify({ url, prefix }) },
      injectRaw: (channel, payload) =>
        withClient(
          url,
          async (client) =>
            void (await client.send(['XADD', `${prefix}:stream:${channel}`, '*', 'event', payload])),
        ),
      destroy: () => withClient(url, (client) => deleteAll(client, prefix)),
    };
  };
}

async function deleteAll(client: RedisClient, prefix: string): Promise<void> {
  let cursor = '0';
  do {
    const [next, keys] = (await client.send(['SCAN', cursor, 'MATCH', `${prefix}:*`, 'COUNT', '1000'])) as [
      string,
      readonly string[],
    ];
    if (keys.length > 0) await client.send(['UNLINK', ...keys]);
    cursor = next;
  } while (cursor !== '0');
}
