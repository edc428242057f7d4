import { createManualClock } from '@doorbuster/messaging/conformance';
import { describe, expect, it } from 'vitest';
import type { AdmissionAnswer, AdmissionLedger } from '../ledger.ts';
import { systemRandomness } from '../randomness.ts';
import { Vault } from '../vault.ts';
import { type EntryMessage, QueuedIntake } from './queued.ts';

const vault = new Vault(new Uint8Array(32).fill(7));
const memberKey = (i: number) => vault.memberKey('gift', `m${i}`);
const soldOut: AdmissionAnswer = {
  decision: { verdict: 'sold-out', recordNo: 9 },
  receipt: null,
  salt: null,
  at: 0,
};

/** An intake over a queue in an array, and a ledger that gives the same answer to all. */
function made(
  answer: AdmissionAnswer = soldOut,
  backlog = 0,
  confirmed: () => Promise<void> = () => Promise.resolve(),
  left: () => number = () => backlog,
) {
  const clock = createManualClock();
  const stored: EntryMessage[] = [];
  const intake = new QueuedIntake({
    queue: {
      async publish(data) {
        await confirmed();
        stored.push({ id: `${stored.length}`, data });
      },
      backlog: async () => left() + stored.length,
      consume: async () => {},
    },
    ledger: {
      admit: async (_id, commands) => commands.map(() => answer),
    } as Partial<AdmissionLedger> as AdmissionLedger,
    vault,
    clock,
    randomness: systemRandomness(),
    onAnswers: () => {},
  });
  const submit = (i: number) =>
    intake.submit('gift', {
      memberKey: memberKey(i),
      salt: 'ab'.repeat(16),
      answers: null,
      screenedOut: false,
    });
  return { intake, stored, submit, clock };
}

describe('who is pending', () => {
  it('everybody, until the queue of an earlier process is settled; control: nobody when there was none', async () => {
    // Two messages of an earlier process: made by an intake with another mark.
    const earlier = made();
    await earlier.submit(1);
    await earlier.submit(2);
    const later = made(soldOut, 2);
    expect(later.intake.isPending('gift', memberKey(7))).toBe(true);
    await later.intake.start();
    expect(later.intake.isPending('gift', memberKey(7))).toBe(true);
    await later.intake.handle([earlier.stored[0]!]);
    // Handed out twice: still one of two.
    await later.intake.handle([earlier.stored[0]!]);
    expect(later.intake.isPending('gift', memberKey(7))).toBe(true);
    await later.intake.handle([earlier.stored[1]!]);
    expect(later.intake.isPending('gift', memberKey(7))).toBe(false);
    expect(later.intake.lastRefusal('gift', memberKey(1))).toBe(soldOut);

    const control = made(soldOut, 0);
    await control.intake.start();
    expect(control.intake.isPending('gift', memberKey(7))).toBe(false);
  });

  it('own entries do not count for those of an earlier process', async () => {
    const later = made(soldOut, 1);
    await later.intake.start();
    await later.submit(1);
    await later.intake.handle(later.stored);
    expect(later.intake.recovering).toBe(true);
  });

  it('nobody any more once the queue is empty, also of what it parked by itself and never handed out', async () => {
    let left = 1;
    const { intake, clock } = made(soldOut, 1, undefined, () => left);
    await intake.start();
    const nextLook = async (): Promise<void> => {
      clock.advance(1_000);
      await new Promise((resolve) => setImmediate(resolve));
    };
    await nextLook();
    expect(intake.isPending('gift', memberKey(7))).toBe(true);
    left = 0;
    await nextLook();
    expect(intake.isPending('gift', memberKey(7))).toBe(false);
  });

  it('paused and not open stay in the queue, pending', async () => {
    for (const decision of [{ verdict: 'paused' }, { verdict: 'not-open', opensAt: 5 }] as const) {
      const { intake, stored, submit } = made({ ...soldOut, decision });
      await intake.start();
      await submit(1);
      expect(await intake.handle(stored)).toEqual([{ kind: 'snooze', delayMs: 1_000 }]);
      expect(intake.isPending('gift', memberKey(1))).toBe(true);
    }
  });

  it('what cannot be opened is parked for a person, and others go on', async () => {
    const { intake, stored, submit } = made();
    await intake.start();
    await submit(1);
    const broken = ['', 'x', 'a.b.c', `${stored[0]!.data.sealed.slice(0, -6)}AAAAAA`].map((sealed, i) => ({
      id: `broken ${i}`,
      data: { campaignId: 'gift', sealed },
    }));
    const outcomes = await intake.handle([...broken, stored[0]!]);
    expect(outcomes.map(({ kind }) => kind)).toEqual([
      'deadLetter',
      'deadLetter',
      'deadLetter',
      'deadLetter',
      'ack',
    ]);
  });

  it('a second copy of a request is told nothing before the queue has confirmed the first', async () => {
    const confirm = Promise.withResolvers<void>();
    const { submit, stored } = made(soldOut, 0, () => confirm.promise);
    const told: string[] = [];
    const [first, second] = ['first', 'second'].map((copy) => submit(1).then(() => told.push(copy)));
    // A turn of the event loop, in which everything that waits for nothing is done.
    await new Promise((resolve) => setImmediate(resolve));
    expect(told).toEqual([]);
    confirm.resolve();
    await Promise.all([first, second]);
    expect(told).toHaveLength(2);
    expect(stored).toHaveLength(1);
    await submit(1);
    expect(stored).toHaveLength(1);
  });

  it('where the queue did not take the first copy, no copy is told pending, and the next one is published', async () => {
    const outcomes = [Promise.reject(new Error('no room')), Promise.resolve()];
    const { intake, submit, stored } = made(soldOut, 0, () => outcomes.shift() ?? Promise.resolve());
    await intake.start();
    const copies = await Promise.allSettled([submit(1), submit(1)]);
    expect(copies.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(intake.isPending('gift', memberKey(1))).toBe(false);
    await submit(1);
    expect(stored).toHaveLength(1);
    expect(intake.isPending('gift', memberKey(1))).toBe(true);
  });

  it('on the bus an entry is sealed: nothing of the member or the answers is readable', async () => {
    const { intake, stored } = made();
    await intake.submit('gift', {
      memberKey: memberKey(1),
      salt: 'ab'.repeat(16),
      answers: { why: 'a private reason' },
      screenedOut: false,
    });
    const text = Buffer.from(stored[0]!.data.sealed.split('.')[2]!, 'base64url').toString('latin1');
    expect(stored[0]!.data.sealed + text).not.toContain('private');
    expect(stored[0]!.data.sealed + text).not.toContain(memberKey(1));
  });
});
