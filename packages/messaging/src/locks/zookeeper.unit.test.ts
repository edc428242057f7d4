/** What the locks on ZooKeeper say where their client is not installed; what they do with one is in `locks.int.test.ts`. */
import { createRequire } from 'node:module';
import { expect, it } from 'vitest';
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
