/**
 * What leaders promise on every lock engine: one at a time, a successor after a stop, a kill and a sleep, with a fence above those before it.
 * That the old one may not know yet is no violation; that its late write is refused by whoever compares fences is what these cases hold.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { createLeader, type Leader } from '../leader.ts';
import { createLocks, type LockEngine } from '../lock.ts';
import { openFencedResource } from './fenced-resource.ts';
import { Collector } from './fixture.ts';
import {
  type LockCase,
  type LockFixture,
  newName,
  startErrand,
  TTL_MS,
  withEngine,
  withFolder,
} from './lock-cases.ts';

interface Campaign {
  readonly leader: Leader;
  readonly fences: Collector<bigint>;
}

function campaign(engine: LockEngine, name: string): Campaign {
  const fences = new Collector<bigint>();
  const leader = createLeader({
    locks: createLocks({ engine, retryMs: 20 }),
    name,
    ttlMs: TTL_MS,
    restMs: 20,
    async onElected(signal, fence) {
      fences.add(fence);
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    },
  });
  leader.start();
  return { leader, fences };
}

const succession: LockCase = {
  name: 'leaders are one at a time through ten successions, each with a higher fence',
  run: (fixture) =>
    withEngine(fixture, async (engine) => {
      const name = newName();
      const fences: bigint[] = [];
      let current = campaign(engine, name);
      await current.fences.waitFor(1);
      for (let round = 0; round < 10; round += 1) {
        fences.push(...current.fences.values);
        const next = campaign(engine, name);
        assert.notEqual(next.leader.view().state, 'leading', 'two lead at once');
        await current.leader.stop();
        await next.fences.waitFor(1);
        current = next;
      }
      await current.leader.stop();
      const sorted = [...new Set(fences)].toSorted((a, b) => (a < b ? -1 : 1));
      assert.deepEqual(fences, sorted);
      assert.equal(fences.length, 10);
    }),
};

/** A leader in a process of its own, and what it was elected with. */
async function elected(fixture: LockFixture, name: string, path: string) {
  const child = startErrand(fixture, { scenario: 'lead', name, ttlMs: TTL_MS, path });
  return { child, fence: BigInt((await child.line('elected')).split(' ')[1] ?? '') };
}

const killedLeader: LockCase = {
  name: 'a leader killed by SIGKILL is succeeded, with a higher fence',
  run: (fixture) =>
    withFolder((folder) =>
      withEngine(fixture, async (engine) => {
        const name = newName();
        const { child, fence } = await elected(fixture, name, join(folder, 'resource.db'));
        const { leader, fences } = campaign(engine, name);
        try {
          child.send('SIGKILL');
          await child.ended;
          await fences.waitFor(1);
          assert.ok((fences.values[0] ?? 0n) > fence);
        } finally {
          child.send('SIGKILL');
          await leader.stop();
        }
      }),
    ),
};

/** `check: false` is the control: where the resource does not compare, the write of the leader of the past goes through. */
export async function sleepingLeader(fixture: LockFixture, check: boolean): Promise<'written' | 'refused'> {
  let outcome: 'written' | 'refused' = 'written';
  await withFolder((folder) =>
    withEngine(fixture, async (engine) => {
      const name = newName();
      const path = join(folder, 'resource.db');
      const resource = openFencedResource(path);
      const { child, fence } = await elected(fixture, name, path);
      const { leader, fences } = campaign(engine, name);
      try {
        child.send('SIGSTOP');
        await fences.waitFor(1);
        assert.equal(resource.write('the successor', fences.values[0] ?? 0n), 'written');
        child.send('SIGCONT');
        assert.equal(await child.line('over'), 'over refused');
        assert.equal(leader.view().state, 'leading', 'the leader of the past took the term away');
        assert.equal(resource.read().value, 'the successor');
        outcome = resource.write('late', fence, { check });
      } finally {
        child.send('SIGCONT');
        child.send('SIGKILL');
        await child.ended;
        await leader.stop();
        resource.close();
      }
    }),
  );
  return outcome;
}

const stoppedLeader: LockCase = {
  name: 'a leader that slept past its lease (SIGSTOP) steps down, and its late write is refused',
  run: async (fixture) => assert.equal(await sleepingLeader(fixture, true), 'refused'),
};

export const leaderCases: readonly LockCase[] = [succession, killedLeader, stoppedLeader];
