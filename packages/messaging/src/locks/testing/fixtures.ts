/** The lock engines' fixtures for their contract, each with connections of its own to the server its variable names; children open the same by `openLockEngine`. */
import { createRequire } from 'node:module';
import { Pool } from 'pg';
import { createClient } from 'redis';
import type { LockFixture } from '../../conformance/lock-cases.ts';
import { type LockDefect, plantInLock } from '../../conformance/lock-defects.ts';
import { systemClock } from '../../clock.ts';
import { createIds } from '../../ids.ts';
import type { LockEngine } from '../../lock.ts';
import { createPostgresLockEngine } from '../postgres.ts';
import { createRedisLockEngine } from '../redis.ts';
import { createZookeeperLockEngine } from '../zookeeper.ts';

export type LockKind = 'redis' | 'postgres' | 'zookeeper';

interface Opening {
  readonly kind: LockKind;
  readonly url: string;
  /** Of one fixture: a prefix of keys, a schema, a root node. */
  readonly space: string;
  readonly defect?: LockDefect;
}

type Open = (url: string, space: string, defect?: LockDefect) => Promise<LockEngine>;

/** As long as the ttl of the contract. */
const SESSION_MS = 2_000;
/** The longest that the server allows: there a grant ends with its session, whatever ttl it was asked for. */
const ENDLESS_SESSION_MS = 60_000;

const openers: Readonly<Record<LockKind, Open>> = {
  async redis(url, space) {
    const client = createClient({ url });
    client.on('error', () => {});
    await client.connect();
    const engine = createRedisLockEngine({ client, prefix: `${space}:` });
    return { ...engine, close: async () => client.destroy() };
  },
  async postgres(url, space) {
    const pool = new Pool({ connectionString: url, max: 2, options: `-c search_path=${space}` });
    pool.on('error', () => {});
    const engine = createPostgresLockEngine({ pool });
    // Two processes at once may both find it missing.
    await pool.query(`CREATE SCHEMA IF NOT EXISTS ${space}`).catch(() => {});
    await engine.prepare();
    return { ...engine, close: () => pool.end() };
  },
  zookeeper: async (url, space, defect) =>
    createZookeeperLockEngine({
      servers: url,
      sessionTimeoutMs: defect === 'the lease never ends' ? ENDLESS_SESSION_MS : SESSION_MS,
      root: `/${space}`,
    }),
};

export async function openLockEngine(argument: string): Promise<LockEngine> {
  const { kind, url, space, defect } = JSON.parse(argument) as Opening;
  const engine = await openers[kind](url, space, defect);
  return defect === undefined ? engine : plantInLock(defect, engine);
}

export function lockFixture(kind: LockKind, url: string, defect?: LockDefect): LockFixture {
  const space = `lock_${createIds(systemClock).next().replaceAll('-', '')}`;
  const argument = JSON.stringify({ kind, url, space, ...(defect === undefined ? {} : { defect }) });
  return {
    open: () => openLockEngine(argument),
    child: { module: new URL(import.meta.url), argument },
    ...(kind === 'zookeeper' ? { takeAway: ({ name }) => removeChildren(url, `/${space}/${name}`) } : {}),
    destroy: () => cleanUp[kind](url, space),
  };
}

const cleanUp: Readonly<Record<LockKind, (url: string, space: string) => Promise<void>>> = {
  async redis(url, space) {
    const client = createClient({ url });
    await client.connect();
    for await (const keys of client.scanIterator({ MATCH: `${space}:*`, COUNT: 1_000 }))
      if (keys.length > 0) await client.del(keys);
    client.destroy();
  },
  async postgres(url, space) {
    const pool = new Pool({ connectionString: url, max: 1 });
    await pool.query(`DROP SCHEMA IF EXISTS ${space} CASCADE`);
    await pool.end();
  },
  // A few empty nodes stay; this server is one's own.
  zookeeper: async () => {},
};

interface AdminClient {
  once(event: string, listener: () => void): void;
  connect(): void;
  close(): void;
  getChildren(path: string, callback: (error: Error | null, children: string[]) => void): void;
  remove(path: string, callback: (error: Error | null) => void): void;
}

/** What an administrator can do: delete the holder's node while its session lives. */
async function removeChildren(url: string, parent: string): Promise<void> {
  const { createClient: create } = createRequire(import.meta.url)('node-zookeeper-client') as {
    createClient: (servers: string) => AdminClient;
  };
  const client = create(url.replace('zookeeper://', ''));
  const connected = new Promise<void>((resolve) => client.once('connected', resolve));
  client.connect();
  await connected;
  const children = await new Promise<string[]>((resolve, reject) =>
    client.getChildren(parent, (error, found) => (error ? reject(error) : resolve(found))),
  );
  for (const child of children)
    await new Promise<void>((resolve, reject) =>
      client.remove(`${parent}/${child}`, (error) => (error ? reject(error) : resolve())),
    );
  client.close();
}
