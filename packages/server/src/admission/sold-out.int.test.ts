import { DatabaseSync } from 'node:sqlite';
import { createInProcessEngine } from '@doorbuster/messaging/engines/embedded';
import { afterEach, describe, expect, it } from 'vitest';
import type { AdmissionAnswer, Ledger } from '../ledger.ts';
import { type Fixture, fixtureKeys, openFixture, tester } from '../http/app-fixture.ts';
import { openInProcessLedger } from '../ledgers/sqlite/in-process.ts';

let fixture: Fixture;
afterEach(() => fixture.close());

const roomy = { limits: { memberBurst: 10_000, addressBurst: 1_000_000 } };

/** A ledger whose calls are counted, and whose lane notices pass through a hand of the test's. */
function watched(ledger: Ledger, onNotice: (pass: () => void) => void = (pass) => pass()) {
  const calls = { admitted: 0 };
  const around: Ledger = {
    ...ledger,
    campaigns: {
      ...ledger.campaigns,
      onLane: (listener) => ledger.campaigns.onLane((lane) => onNotice(() => listener(lane))),
    },
    admission: {
      ...ledger.admission,
      admit(id, commands) {
        calls.admitted += commands.length;
        return ledger.admission.admit(id, commands);
      },
    },
  };
  return { around, calls };
}

async function open(onNotice?: (pass: () => void) => void) {
  let calls = { admitted: 0 };
  fixture = await openFixture({
    openLedger: (keys) => openInProcessLedger(keys),
    engine: createInProcessEngine(new DatabaseSync(':memory:')),
    config: roomy,
    keys: fixtureKeys(),
    around: (ledger) => {
      const made = watched(ledger, onNotice);
      calls = made.calls;
      return made.around;
    },
  });
  return { calls };
}

const oneUnit = { stock: { capacity: 1, closeWhenSoldOut: false } };

describe('the fast way after sold-out', () => {
  it('asks the ledger no more for the unknown, and always for who is in', async () => {
    const { calls } = await open();
    await fixture.campaign('gift', oneUnit);
    await fixture.enter('gift', 'm0');
    await fixture.enter('gift', 'm1');
    const before = calls.admitted;
    for (let i = 2; i < 30; i += 1) expect((await fixture.enter('gift', `m${i}`)).statusCode).toBe(410);
    expect(calls.admitted).toBe(before);
    expect((await fixture.enter('gift', 'm0')).json()).toMatchObject({ verdict: 'won', repeated: true });
    expect(calls.admitted).toBe(before + 1);
  });

  it('authentication still comes first', async () => {
    await open();
    await fixture.campaign('gift', oneUnit);
    await fixture.enter('gift', 'm0');
    await fixture.enter('gift', 'm1');
    const answer = await fixture.app.inject({
      method: 'POST',
      url: '/v1/campaigns/gift/entries',
      headers: { authorization: 'Bearer s1.x.y.z' },
    });
    expect(answer.statusCode).toBe(401);
  });

  it('ends when a top-up reopens the campaign', async () => {
    await open();
    await fixture.campaign('gift', oneUnit);
    await fixture.enter('gift', 'm0');
    expect((await fixture.enter('gift', 'm1')).statusCode).toBe(410);
    await fixture.ledger.campaigns.command(
      'gift',
      { type: 'change-stock', capacity: 2, safetyStock: 0 },
      tester,
    );
    expect((await fixture.enter('gift', 'm1')).statusCode).toBe(201);
    const again = await fixture.enter('gift', 'm2');
    expect(again.statusCode).toBe(410);
    expect(again.json<{ receipt: { record: string } }>().receipt.record).toContain('SOLD_OUT');
  });

  it('knows who was in before a restart', async () => {
    await open();
    await fixture.campaign('gift', oneUnit);
    await fixture.enter('gift', 'm0');
    await fixture.enter('gift', 'm1');
    // What a process after a restart does: a fresh book, fresh gates, the same ledger.
    const { keys, ledger } = fixture;
    const first = fixture;
    fixture = await openFixture({
      openLedger: () => ({ ...ledger, close: async () => {} }),
      engine: createInProcessEngine(new DatabaseSync(':memory:')),
      config: roomy,
      keys,
    });
    for (let i = 2; i < 6; i += 1) await fixture.enter('gift', `m${i}`);
    expect((await fixture.enter('gift', 'm0')).json()).toMatchObject({
      verdict: 'won',
      seq: 1,
      repeated: true,
    });
    await fixture.close();
    fixture = first;
  });
});

describe('what is told moves only with a commit', () => {
  /** Copies of the winner's request arrive while the answer of the commit that sold out is still on its way. */
  async function copiesAfterNotice(underWayKnown: boolean): Promise<readonly string[]> {
    const held = Promise.withResolvers<void>();
    let hold = false;
    fixture = await openFixture({
      openLedger: (keys) => openInProcessLedger(keys),
      engine: createInProcessEngine(new DatabaseSync(':memory:')),
      config: roomy,
      around: (ledger) => ({
        ...ledger,
        admission: {
          ...ledger.admission,
          async admit(id, commands): Promise<readonly AdmissionAnswer[]> {
            const wait = hold;
            hold = false;
            const answers = await ledger.admission.admit(id, commands);
            if (wait) await held.promise;
            return answers;
          },
        },
      }),
    });
    await fixture.campaign('gift', oneUnit);
    // Makes the gate, so that it hears the notice.
    await fixture.ledger.campaigns.command('gift', { type: 'pause' }, tester);
    await fixture.enter('gift', 'other');
    await fixture.ledger.campaigns.command('gift', { type: 'resume' }, tester);
    hold = true;
    const first = fixture.enter('gift', 'm0');
    const soldOut = Promise.withResolvers<void>();
    const unsubscribe = fixture.deps.campaigns.onLane(
      (lane) => lane.soldOutRecordNo !== null && soldOut.resolve(),
    );
    await soldOut.promise;
    unsubscribe();
    // The refusal is ready once somebody else met it.
    while ((await fixture.enter('gift', 'stranger')).statusCode !== 410);
    const copy = underWayKnown ? fixture.enter('gift', 'm0') : fixture.enter('gift', 'stranger');
    const told = copy.then((answer) => answer.json<{ verdict: string }>().verdict);
    held.resolve();
    return Promise.all([first.then((answer) => answer.json<{ verdict: string }>().verdict), told]);
  }

  it('a winner whose answer is on its way is never told sold-out', async () => {
    expect(await copiesAfterNotice(true)).toEqual(['won', 'won']);
  });

  it('control: somebody with nothing under way is told sold-out at that very moment', async () => {
    expect(await copiesAfterNotice(false)).toEqual(['won', 'sold-out']);
  });

  it('while the notice of the commit is not here, the unknown ask the ledger', async () => {
    const notices: (() => void)[] = [];
    let holding = false;
    const { calls } = await open((pass) => (holding ? void notices.push(pass) : pass()));
    await fixture.campaign('gift', oneUnit);
    await fixture.enter('gift', 'warm-up-is-in');
    holding = true;
    await fixture.ledger.campaigns.command(
      'gift',
      { type: 'change-stock', capacity: 2, safetyStock: 0 },
      tester,
    );
    await fixture.enter('gift', 'm0');
    const before = calls.admitted;
    await fixture.enter('gift', 'm1');
    const asked = calls.admitted - before;
    holding = false;
    for (const pass of notices) pass();
    // Control: once the notices are through, the same question costs no call.
    while (calls.admitted !== (await admittedAfter(calls, 'm2')));
    const after = calls.admitted;
    expect((await fixture.enter('gift', 'm3')).statusCode).toBe(410);
    expect([asked <= 1, calls.admitted - after]).toEqual([true, 0]);
  });

  async function admittedAfter(calls: { admitted: number }, member: string): Promise<number> {
    const before = calls.admitted;
    await fixture.enter('gift', member);
    return before;
  }
});
