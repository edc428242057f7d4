/** Fixtures of the engine on lists: a prefix of its own each, and every key of it deleted at the end. */
import { systemClock } from '../../clock.ts';
import type { EngineFixture } from '../../conformance/fixture.ts';
import type { Engine } from '../../engine.ts';
import { createIds } from '../../ids.ts';
import { type OpenClient, openClient } from '../../redis/client.ts';
import { openingBehind, type Wrap } from '../../redis/testing/behind.ts';
import { deleteAll } from '../../redis/testing/keys.ts';
import { createRedisListsEngine, type RedisListsEngineOptions, redisListsEngineOn } from './engine.ts';

export interface ListsFixture extends EngineFixture {
  readonly prefix: string;
  /** Runs commands as any other user of the server would. */
  readonly raw: (...args: readonly string[]) => Promise<unknown>;
  /** An engine on this fixture's keys with something between it and the server. */
  readonly openBehind: (wrap: Wrap) => Engine;
}

/** What a child process of the kill cases opens: the argument is `{ url, prefix }`. */
export function openEngine(argument: string): Engine {
  return createRedisListsEngine(JSON.parse(argument) as { url: string; prefix: string });
}

export function listsFixture(
  url: string,
  options: Partial<RedisListsEngineOptions> = {},
  open: OpenClient = openClient,
): () => Promise<ListsFixture> {
  return async () => {
    const prefix = `conformance-${createIds(systemClock).next()}`;
    const client = await openClient({ url, name: 'conformance', connectTimeoutMs: 5_000 });
    return {
      prefix,
      raw: (...args) => client.send(args),
      open: () => redisListsEngineOn(open, { url, prefix, ...options }),
      openBehind: (wrap) => redisListsEngineOn(openingBehind(open, wrap), { url, prefix, ...options }),
      child: { module: new URL(import.meta.url), argument: JSON.stringify({ url, prefix }) },
      injectRaw: async (channel, payload) =>
        void (await client.send(['LPUSH', `${prefix}:list:${channel}`, payload])),
      async breakConnections() {
        const lines = String(await client.send(['CLIENT', 'LIST'])).split('\n');
        const taken = (await client.send(['KEYS', `${prefix}:lists:*:consumers`])) as readonly string[];
        const names = await Promise.all(taken.map((key) => client.send(['ZRANGE', key, '0', '-1'])));
        const instances = (names.flat() as readonly string[]).map((name) => name.split(':')[0] ?? '');
        const ours = lines.filter((line) =>
          instances.some((one) => line.includes(` name=doorbuster-${one} `)),
        );
        for (const line of ours)
          await client.send(['CLIENT', 'KILL', 'ID', /^id=(\d+)/.exec(line)?.[1] ?? '0']);
        return ours.length;
      },
      async destroy() {
        await deleteAll(client, prefix);
        client.end();
      },
    };
  };
}
