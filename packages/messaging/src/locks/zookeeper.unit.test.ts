/** What the locks on ZooKeeper say where their client is not installed, and what their waiters keep, on a client of the test; the rest is in `locks.int.test.ts`. */
import { createRequire } from 'node:module';
import { queryObjects } from 'node:v8';
import { describe, expect, it } from 'vitest';
import { createZookeeperLockEngine, zookeeperLocksLoadedBy } from './zookeeper.ts';

const servers = 'localhost:2181';

it('names the package to install', () => {
  // From a place that has no packages: Node's own error, whose words are what is looked at.
  const elsewhere = createRequire('/nowhere/at-all.js');
  expect(() => zookeeperLocksLoadedBy(elsewhere, { servers })).toThrow(
    expect.objectContaining({
      code: 'DB_MSG_PEER_MISSING',
      message: expect.stringContaining('npm install node-zookeeper-client') as string,
      cause: expect.objectContaining({ code: 'MODULE_NOT_FOUND' }) as Error,
    }),
  );
});

it('hands on what is wrong with a client that is there, and one that lacks a package of its own', () => {
  const broken = new Error('not for this Node');
  const deeper = Object.assign(
    new Error("Cannot find module 'async'\nRequire stack:\n- /x/node-zookeeper-client/index.js"),
    { code: 'MODULE_NOT_FOUND' },
  );
  for (const error of [broken, deeper])
    expect(() =>
      zookeeperLocksLoadedBy(
        () => {
          throw error;
        },
        { servers },
      ),
    ).toThrow(error);
});

it.each([undefined, '', ' ', 2181])('refuses servers that are none: %j', (none) => {
  const options = { servers: none as string };
  expect(() => createZookeeperLockEngine(options)).toThrow(
    expect.objectContaining({
      code: 'DB_MSG_INVALID_OPTIONS',
      message: expect.stringContaining('"host:port"') as string,
    }),
  );
});

type Children = (error: Error | null, children: string[]) => void;

/** A client whose name is held by somebody; `change` fires its watches, as a change of the parent's children does. */
function heldElsewhere({ fault = null as Error | null } = {}) {
  const watches: (() => void)[] = [];
  const client = {
    once: (event: string, listener: () => void) => event === 'connected' && queueMicrotask(listener),
    connect() {},
    close() {},
    getSessionTimeout: () => 10_000,
    getChildren(_path: string, watch: (() => void) | undefined, done: Children) {
      if (watch) watches.push(watch);
      queueMicrotask(() => done(fault, ['another-0000000001']));
    },
  };
  const engine = zookeeperLocksLoadedBy(
    () => ({ createClient: () => client, CreateMode: {}, Exception: { NO_NODE: -101 } }),
    { servers },
  );
  const freed = (signal: AbortSignal): Promise<void> => engine.freed?.('work', signal) ?? Promise.resolve();
  const change = (): void => watches.splice(0).forEach((watch) => watch());
  return { engine, freed, watches, change };
}

/** A count walks through all that this process holds, of the test files before this one, too: seconds, where these were many. */
const HEAP_WALKS_MS = 60_000;
/** Counted after a full collection. */
const promises = (): number => queryObjects(Promise, { format: 'count' });

describe('those who wait for a name', () => {
  it('leave nothing behind with each look, behind a holder that stays', {
    timeout: HEAP_WALKS_MS,
  }, async () => {
    const { engine, freed, watches, change } = heldElsewhere();
    const look = async (): Promise<void> => {
      const over = new AbortController();
      const looking = freed(over.signal);
      over.abort();
      await looking;
    };
    const stays = freed(new AbortController().signal);
    await expect.poll(() => watches.length).toBe(1);
    await look();
    const before = promises();
    for (let looks = 0; looks < 2_000; looks += 1) await look();
    expect(promises() - before).toBeLessThan(200);
    expect(watches).toHaveLength(1);
    change();
    await stays;
    await engine.close();
  });

  it('are all woken by one change, and the next ones by the next', async () => {
    const { engine, freed, watches, change } = heldElsewhere();
    const { signal } = new AbortController();
    for (const _round of [1, 2]) {
      const waiting = [freed(signal), freed(signal), freed(signal)];
      await expect.poll(() => watches.length).toBe(1);
      change();
      await Promise.all(waiting);
    }
    await engine.close();
  });

  it('are all told when the name cannot be watched, but for one that looks no longer', async () => {
    const { engine, freed } = heldElsewhere({ fault: new Error('the connection is lost') });
    const over = new AbortController();
    const waiting = [freed(new AbortController().signal), freed(new AbortController().signal)];
    const gone = freed(over.signal);
    over.abort();
    await gone;
    for (const one of await Promise.allSettled(waiting))
      expect(one).toMatchObject({ status: 'rejected', reason: { code: 'DB_MSG_ENGINE_UNREACHABLE' } });
    await engine.close();
  });
});
