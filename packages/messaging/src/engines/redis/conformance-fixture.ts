/** Fixtures for the conformance suite on a real server: a prefix of its own each, and every key of it deleted at the end. */
import { systemClock } from '../../clock.ts';
import type { EngineFixture } from '../../conformance/fixture.ts';
import type { Engine } from '../../engine.ts';
import { createIds } from '../../ids.ts';
import { type OpenClient, openClient, type RedisClient } from '../../redis/client.ts';
import { openingBehind, type Wrap } from '../../redis/testing/behind.ts';
import { deleteAll } from '../../redis/testing/keys.ts';
import { createRedisEngine, redisEngineOn } from './engine.ts';
import { connectionName } from './peers.ts';

export interface RedisFixture extends EngineFixture {
  readonly url: string;
  readonly prefix: string;
  /** Of channels with order; 0: none, keys wait in lanes. */
  readonly shards: number;
  /** Runs commands as any other user of the server would. */
  readonly raw: (...args: readonly string[]) => Promise<unknown>;
  /** An engine on this fixture's keys with something between it and the server. */
  readonly openBehind: (wrap: Wrap) => Engine;
}

/** Short, so that a case need not wait a minute for a stranger to count as idle. */
const STRANGER_IDLE_MS = 300;

/** What a child process of the kill cases opens: the argument is `{ url, prefix, shards }`. */
export function openEngine(argument: string): Engine {
  return createRedisEngine(JSON.parse(argument) as { url: string; prefix: string; shards: number });
}

export function redisFixture(
  url: string,
  open: OpenClient = openClient,
  { shards = 16 }: { readonly shards?: number } = {},
): () => Promise<RedisFixture> {
  return async () => {
    const prefix = `conformance-${createIds(systemClock).next()}`;
    const client = await openClient({ url, name: 'conformance', connectTimeoutMs: 5_000 });
    const options = { url, prefix, strangerIdleMs: STRANGER_IDLE_MS, shards };
    return {
      url,
      prefix,
      shards,
      raw: (...args) => client.send(args),
      openBehind: (wrap) => redisEngineOn(openingBehind(open, wrap), options),
      open: () => redisEngineOn(open, options),
      child: { module: new URL(import.meta.url), argument: JSON.stringify({ url, prefix, shards }) },
      breakConnections: () => killConnections(client, prefix),
      injectRaw: async (channel, payload) =>
        void (await client.send(['XADD', `${prefix}:stream:${channel}`, '*', 'event', payload])),
      async destroy() {
        await deleteAll(client, prefix);
        client.end();
      },
    };
  };
}

/** Closes the connections of every engine on the prefix; returns how many there were. */
export async function killConnections(client: Pick<RedisClient, 'send'>, prefix: string): Promise<number> {
  const instances = (await client.send(['ZRANGE', `${prefix}:alive`, '0', '-1'])) as readonly string[];
  const lines = String(await client.send(['CLIENT', 'LIST'])).split('\n');
  const ours = lines.filter((line) =>
    instances.some((one) => line.includes(` name=${connectionName(one)} `)),
  );
  for (const line of ours) {
    const id = /^id=(\d+)/.exec(line)?.[1] ?? '0';
    // It may have gone by itself meanwhile.
    await client.send(['CLIENT', 'KILL', 'ID', id]);
  }
  return ours.length;
}
