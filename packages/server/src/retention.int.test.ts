// The retention job on a real ledger and a clock that is moved by hand: what is past its time goes, whole, and nothing else does.
import { createManualClock, type ManualClock } from '@doorbuster/messaging/conformance';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EvidenceLedger, Ledger } from './ledger.ts';
import { keyOfMember, master, members, operator, publish, signingKeys } from './ledger-fixture.ts';
import { openInProcessLedger } from './ledgers/sqlite/in-process.ts';
import type { PeriodicJob } from './periodic.ts';
import { systemRandomness } from './randomness.ts';
import { startRetention } from './retention.ts';

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const retentionDays = 30;
const entrants = 1_200;

let clock: ManualClock;
let ledger: Ledger;
let jobs: PeriodicJob[];
let failures: unknown[];

beforeEach(() => {
  clock = createManualClock(Date.UTC(2026, 10, 1));
  ledger = openInProcessLedger({ master, signingKeys: signingKeys(), clock, randomness: systemRandomness() });
  jobs = [];
  failures = [];
});

afterEach(async () => {
  for (const job of jobs) await job.stop();
  await ledger.close();
});

const retain = (evidence: Pick<EvidenceLedger, 'expire'> = ledger.evidence): void => {
  jobs.push(startRetention({ evidence, clock, retentionDays, onError: (error) => failures.push(error) }));
};

/** Hour by hour; the job sets its next timer when it is through, which is what is waited for. */
const pass = async (hours: number): Promise<void> => {
  for (let hour = 0; hour < hours; hour++) {
    clock.advance(hourMs);
    while (jobs.length > 0 && clock.nextTimerAt() === undefined)
      await new Promise((next) => setImmediate(next));
  }
};

/** A campaign with members on its list and more in it than go into one slice. */
const campaign = async (id: string): Promise<void> => {
  await publish(ledger, id, { capacity: entrants });
  const begun = await ledger.imports.begin(id, 'members', 'append', operator);
  if (!begun.ok) throw new Error(begun.code);
  await ledger.imports.members(begun.value, [
    { memberKey: keyOfMember('listed'), contact: { email: 'listed@example.com' }, attributes: {} },
  ]);
  await ledger.imports.commit(begun.value);
  await ledger.admission.register(id, keyOfMember('m0'), { email: 'm0@example.com' }, {});
  await ledger.admission.admit(id, members(entrants));
};
const close = (id: string) => ledger.campaigns.command(id, { type: 'close' }, operator);

/** What of its members a campaign still holds. */
const held = async (id: string) => {
  let entries = 0;
  for await (const chunk of ledger.evidence.allEntries(id))
    entries += chunk.filter(({ erased }) => !erased).length;
  const known = await ledger.admission.entryOf(id, keyOfMember('m0'));
  return {
    entries,
    contacts: await ledger.reconcile.contactCount(id),
    contact: known?.maskedContact ?? null,
  };
};
const whole = { entries: entrants, contacts: 2, contact: 'm***@example.com' };
const nothing = { entries: 0, contacts: 0, contact: null };

describe('retention', () => {
  beforeEach(async () => {
    await campaign('old');
    await campaign('younger');
    await campaign('running');
    await close('old');
    clock.advance(2 * hourMs);
    await close('younger');
  });

  it('erases what is past its time, all of it, and nothing else', async () => {
    retain();
    await pass(retentionDays * 24 - 2);
    expect([await held('old'), await held('younger')]).toEqual([whole, whole]);
    await pass(1);
    expect(await held('old')).toEqual(nothing);
    expect([await held('younger'), await held('running')]).toEqual([whole, whole]);
    await pass(3);
    expect(await held('younger')).toEqual(nothing);
    expect(await held('running')).toEqual(whole);
    expect([(await ledger.verify()).violations, failures]).toEqual([[], []]);
  });

  it('control: without the job everything stays', async () => {
    await pass(retentionDays * 24 + 48);
    expect([await held('old'), await held('younger')]).toEqual([whole, whole]);
  });

  it('tells a failure and does the work an hour later', async () => {
    let refusals = 1;
    clock.advance(retentionDays * dayMs);
    retain({
      expire: (...args) =>
        refusals-- > 0 ? Promise.reject(new Error('the disk is full')) : ledger.evidence.expire(...args),
    });
    await pass(1);
    expect(await held('old')).toEqual(whole);
    await pass(1);
    expect(failures.splice(0)).toEqual([new Error('the disk is full')]);
    expect(await held('old')).toEqual(nothing);
  });

  it('is stopped between two slices, and the next start goes on', async () => {
    let slices = 0;
    let stopped: Promise<void> | undefined;
    clock.advance(retentionDays * dayMs);
    retain({
      expire: (...args) => {
        slices += 1;
        stopped = jobs.pop()!.stop();
        return ledger.evidence.expire(...args);
      },
    });
    await pass(1);
    await stopped;
    expect(slices).toBe(1);
    const left = (await held('old')).entries;
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThan(entrants);
    retain();
    await pass(1);
    expect(await held('old')).toEqual(nothing);
  });
});
