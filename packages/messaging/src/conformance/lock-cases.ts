/**
 * The contract of a lock engine, as cases that every one of them passes, with real processes, SIGKILL and SIGSTOP. They hold what an engine can promise:
 * exclusion while leases last, fences that only grow, releases and renewals that never touch another's grant. That a fence has to be checked by the
 * resource is shown by its opposite: the case of the sleeper, whose late write goes through where nothing checks.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../clock.ts';
import { createIds } from '../ids.ts';
import { createLocks, type HeldLock, type Lease, type LockEngine } from '../lock.ts';
import { startChild, type ToldProcess } from './child-process.ts';
import { openFencedResource } from './fenced-resource.ts';
import { patienceAtMost } from './fixture.ts';
import type { LockErrand } from './lock-child.ts';

export interface LockFixture {
  /** A new engine with a connection of its own on the same server. */
  readonly open: () => Promise<LockEngine>;
  /** A module that exports `openLockEngine(argument): Promise<LockEngine>`. */
  readonly child: { readonly module: URL; readonly argument: string };
  /** Takes a grant away behind its holder's back, where it would not end by itself in this process; default: its ttl is waited for. */
  readonly takeAway?: (lease: Lease) => Promise<void>;
  readonly destroy: () => Promise<void>;
}

export interface LockCase {
  readonly name: string;
  readonly run: (fixture: LockFixture) => Promise<void>;
}

/** Long enough that a holder on a busy machine still gets to renew. */
export const TTL_MS = 2_000;
const LONG_MS = 10_000;
const ids = createIds(systemClock);
export const newName = (): string => `case-${ids.next()}`;

const entry = new URL(
  import.meta.url.endsWith('.ts') ? './lock-child.ts' : './lock-child.js',
  import.meta.url,
);
export const startErrand = ({ child }: LockFixture, errand: LockErrand): ToldProcess =>
  startChild(entry, [child.module.href, child.argument, JSON.stringify(errand)]);

export async function withEngine(
  fixture: LockFixture,
  use: (engine: LockEngine) => Promise<void>,
): Promise<void> {
  const engine = await fixture.open();
  try {
    await use(engine);
  } finally {
    await engine.close();
  }
}

export async function withFolder(use: (path: string) => Promise<void>): Promise<void> {
  const path = mkdtempSync(join(tmpdir(), 'locks-'));
  try {
    await use(path);
  } finally {
    rmSync(path, { recursive: true, force: true });
  }
}

async function take(
  engine: LockEngine,
  name: string,
  waitMs = patienceAtMost(LONG_MS),
  ttlMs = TTL_MS,
): Promise<HeldLock> {
  const lock = await createLocks({ engine, retryMs: 20 }).acquire(name, { ttlMs, waitMs });
  assert.ok(lock, 'the lock was not to be had in time');
  return lock;
}

/** A lease that its holder does not renew, taken by the engine alone, and lost to another. */
async function lose(
  fixture: LockFixture,
  engine: LockEngine,
  name: string,
): Promise<{ lost: Lease; taken: HeldLock }> {
  const owner = ids.next();
  const grant = await engine.tryAcquire(name, owner, 200);
  assert.ok(grant);
  const lost = { name, owner, fence: grant.fence };
  await fixture.takeAway?.(lost);
  return { lost, taken: await take(engine, name) };
}

const exclusion: LockCase = {
  name: 'processes exclude each other, and their fences grow in the order of the grants',
  run: (fixture) =>
    withFolder(async (path) => {
      const name = newName();
      const children = [1, 2, 3].map(() =>
        startErrand(fixture, { scenario: 'contend', name, ttlMs: 5_000, path, rounds: 15 }),
      );
      try {
        for (const child of children) {
          await child.ended;
          assert.deepEqual(child.told.values, ['done'], child.trouble());
        }
      } finally {
        for (const child of children) child.send('SIGKILL');
      }
      const fences = readFileSync(join(path, 'fences'), 'utf8').trim().split('\n').map(BigInt);
      assert.equal(fences.length, 45);
      assert.deepEqual(
        fences,
        [...new Set(fences)].toSorted((a, b) => (a < b ? -1 : 1)),
        'fences in the order of the grants',
      );
    }),
};

const killed: LockCase = {
  name: 'a holder keeps it beyond its ttl by renewals; after SIGKILL another gets it with a higher fence',
  run: (fixture) =>
    withFolder((path) =>
      withEngine(fixture, async (engine) => {
        const name = newName();
        const child = startErrand(fixture, { scenario: 'hold', name, ttlMs: TTL_MS, path: join(path, 'r') });
        try {
          const fence = BigInt((await child.line('held')).split(' ')[1] ?? '');
          const early = await createLocks({ engine, retryMs: 50 }).acquire(name, {
            ttlMs: TTL_MS,
            waitMs: TTL_MS * 2,
          });
          assert.equal(early, undefined, 'another got it while its holder lived');
          child.send('SIGKILL');
          await child.ended;
          const next = await take(engine, name);
          assert.ok(next.fence > fence, `${next.fence} is not above ${fence}`);
          assert.equal(await next.release(), 'released');
        } finally {
          child.send('SIGKILL');
        }
      }),
    ),
};

/** `check: false` is the control: where the resource does not compare, the sleeper's write goes through and destroys what came after it. */
export async function sleeper(fixture: LockFixture, check: boolean): Promise<'written' | 'refused'> {
  let outcome: 'written' | 'refused' = 'written';
  await withFolder((path) =>
    withEngine(fixture, async (engine) => {
      const name = newName();
      const file = join(path, 'resource.db');
      const resource = openFencedResource(file);
      const child = startErrand(fixture, { scenario: 'hold', name, ttlMs: TTL_MS, path: file });
      try {
        const old = BigInt((await child.line('held')).split(' ')[1] ?? '');
        assert.equal(resource.write('the sleeper, awake', old), 'written');
        child.send('SIGSTOP');
        const next = await take(engine, name);
        assert.ok(next.fence > old);
        assert.equal(resource.write('the next', next.fence), 'written');
        child.send('SIGCONT');
        assert.equal(await child.line('lost'), 'lost false DB_MSG_LOCK_LOST');
        assert.equal(await child.line('wrote'), 'wrote refused');
        assert.equal(await child.line('released'), 'released lost');
        assert.equal(resource.read().value, 'the next');
        assert.equal(next.held(), true, "the sleeper's release took the next one's lock");
        assert.equal(await next.renew(), true, "the sleeper's release took the next one's lock");
        outcome = resource.write('late', old, { check });
        await next.release();
      } finally {
        child.send('SIGCONT');
        child.send('SIGKILL');
        await child.ended;
        resource.close();
      }
    }),
  );
  return outcome;
}

const stopped: LockCase = {
  name: 'a holder that slept past its lease (SIGSTOP) learns that it is lost, and its fence is refused',
  run: async (fixture) => assert.equal(await sleeper(fixture, true), 'refused'),
};

const compareAndDelete: LockCase = {
  name: 'a release after the loss does not free what another holds',
  run: (fixture) =>
    withEngine(fixture, async (engine) => {
      const name = newName();
      const { lost, taken } = await lose(fixture, engine, name);
      assert.equal(await engine.release(lost), false);
      assert.equal(await createLocks({ engine }).acquire(name, { ttlMs: TTL_MS }), undefined);
      assert.equal(await taken.renew(), true);
      assert.equal(await taken.release(), 'released');
      assert.equal(await engine.release(lost), false);
    }),
};

const renewAfterLoss: LockCase = {
  name: 'a renewal after the loss fails and changes nothing',
  run: (fixture) =>
    withEngine(fixture, async (engine) => {
      const name = newName();
      const { lost, taken } = await lose(fixture, engine, name);
      assert.equal(await engine.renew(lost, LONG_MS), false);
      assert.equal(await taken.release(), 'released');
      assert.equal(await engine.renew(lost, LONG_MS), false, 'renewed a free name');
      const next = await take(engine, name, 0);
      assert.ok(next.fence > taken.fence);
      await next.release();
    }),
};

const lostAlive: LockCase = {
  name: 'a grant lost by its ttl is free for others while its holder lives, and its late release says lost',
  run: (fixture) =>
    withEngine(fixture, (holder) =>
      withEngine(fixture, async (other) => {
        const name = newName();
        const lock = await createLocks({ engine: holder }).acquire(name, {
          ttlMs: TTL_MS / 2,
          autoRenew: false,
        });
        assert.ok(lock);
        const next = await take(other, name);
        assert.equal(lock.held(), false, 'another got it while it was held');
        assert.ok(next.fence > lock.fence, `${next.fence} is not above ${lock.fence}`);
        assert.equal(await lock.release(), 'lost');
        assert.equal(await next.renew(), true, "the late release took the next one's lock");
        assert.equal(await next.release(), 'released');
      }),
    ),
};

const lostUntaken: LockCase = {
  name: 'a release after the loss says lost, also where nobody took the name since',
  run: (fixture) =>
    withEngine(fixture, async (engine) => {
      const name = newName();
      const lock = await createLocks({ engine }).acquire(name, { ttlMs: TTL_MS / 2, autoRenew: false });
      assert.ok(lock);
      if (!lock.signal.aborted)
        await new Promise<void>((resolve) => {
          lock.signal.addEventListener('abort', () => resolve(), { once: true });
        });
      assert.equal(await lock.release(), 'lost');
      const next = await take(engine, name);
      assert.equal(await next.release(), 'released');
    }),
};

const fencesGrow: LockCase = {
  name: 'the fence survives releases and new connections, and only grows',
  run: async (fixture) => {
    const name = newName();
    let last = 0n;
    for (let connection = 0; connection < 3; connection += 1)
      await withEngine(fixture, async (engine) => {
        for (let round = 0; round < 3; round += 1) {
          const lock = await take(engine, name, 0);
          assert.ok(lock.fence > last, `${lock.fence} after ${last}`);
          last = lock.fence;
          assert.equal(await lock.release(), 'released');
        }
      });
  },
};

const oneHolder: LockCase = {
  name: 'one try while it is held gets nothing; names do not meet; a waiter gets it after the release',
  run: (fixture) =>
    withEngine(fixture, async (engine) => {
      const name = newName();
      const lock = await take(engine, name, 0);
      assert.equal(await createLocks({ engine }).acquire(name, { ttlMs: TTL_MS }), undefined);
      const other = await take(engine, newName(), 0);
      const waiting = take(engine, name);
      assert.equal(await lock.release(), 'released');
      assert.equal(lock.held(), false);
      assert.equal(await lock.release(), 'lost');
      const next = await waiting;
      assert.ok(next.fence > lock.fence);
      assert.equal(await next.release(), 'released');
      assert.equal(await other.release(), 'released');
    }),
};

const closed: LockCase = {
  name: 'what is held is free for others as soon as its holder closes',
  async run(fixture) {
    const name = newName();
    const leaving = createLocks({ engine: await fixture.open() });
    // Longer than anybody waits here.
    const held = await leaving.acquire(name, { ttlMs: 60_000 });
    await withEngine(fixture, async (engine) => {
      await leaving.close();
      assert.equal(held?.held(), false);
      const next = await take(engine, name);
      assert.ok(next.fence > (held?.fence ?? next.fence));
      assert.equal(await next.release(), 'released');
    });
  },
};

export const lockCases: readonly LockCase[] = [
  oneHolder,
  closed,
  fencesGrow,
  compareAndDelete,
  renewAfterLoss,
  lostAlive,
  lostUntaken,
  exclusion,
  killed,
  stopped,
];
