/**
 * The fence on Redis when its counter is gone, as a server that lost its last writes leaves it: it goes on above what was given. Only Redis keeps it in a key of its own, so this is no
 * case of the contract. The defect is planted in the script on its way to the server.
 */
import assert from 'node:assert/strict';
import { createClient } from 'redis';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../clock.ts';
import { registerControls } from '../conformance/controls.ts';
import { createIds } from '../ids.ts';
import { createRedisLockEngine } from './redis.ts';

const url = process.env['REDIS_URL'];
const TTL_MS = 5_000;
const ids = createIds(systemClock);
const caughtBy = 'a counter that is gone begins above every fence that it gave';

type Change = (script: string) => string;

/** Several grants, the counter is removed, and another: with a renewal and a release, as a holder would. */
async function forgetting(change: Change): Promise<void> {
  const client = createClient({ url: url ?? '' });
  client.on('error', () => {});
  await client.connect();
  const prefix = `fence-${ids.next()}:`;
  const engine = createRedisLockEngine({
    client: {
      sendCommand: ([command = '', script = '', ...rest]) =>
        client.sendCommand([command, change(script), ...rest]),
    },
    prefix,
  });
  const fenceOf = async (): Promise<bigint> => {
    const owner = ids.next();
    const grant = await engine.tryAcquire('name', owner, TTL_MS);
    assert.ok(grant, 'it is free');
    const lease = { name: 'name', owner, fence: grant.fence };
    assert.equal(await engine.renew(lease, TTL_MS), true);
    assert.equal(await engine.release(lease), true);
    return grant.fence;
  };
  try {
    let last = 0n;
    for (const isGone of [false, false, true, false, true]) {
      if (isGone) assert.equal(await client.del(`${prefix}{name}:fence`), 1, 'the counter is there');
      const fence = await fenceOf();
      assert.ok(fence > last, `${fence} after ${last}`);
      last = fence;
    }
  } finally {
    await client.del([`${prefix}{name}`, `${prefix}{name}:fence`]);
    client.destroy();
  }
}

const asItIs: Change = (script) => script;
/** Each has to meet its part of the script, or nothing is planted. */
const replaced =
  (part: string, by: string): Change =>
  (script) => {
    if (!script.includes('SET')) return script;
    assert.ok(script.includes(part), `the script has "${part}"`);
    return script.replace(part, by);
  };

const defects: readonly (readonly [defect: string, change: Change])[] = [
  ['a new counter begins at 0', replaced("redis.call('EXISTS', KEYS[2]) == 0", 'false')],
  ['a new counter begins at seconds', replaced("string.format('%d%06d', now[1], now[2])", 'now[1]')],
];

describe.skipIf(!url)('the fence of a lock on redis (set REDIS_URL to run it)', () => {
  it('a counter that is gone begins above every fence that it gave', async () => {
    await expect(forgetting(asItIs)).resolves.toBeUndefined();
  });

  registerControls(
    it,
    'locks on redis',
    defects.map(([defect, change]) => ({
      defect,
      caughtBy,
      healthy: () => forgetting(asItIs),
      defective: () => forgetting(change),
    })),
  );
});
