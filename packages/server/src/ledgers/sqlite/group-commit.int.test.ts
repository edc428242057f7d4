/** Group commit on a real connection: calls fail alone, a full disk fails all of one transaction and nothing more, other I/O errors end it. */
import { DatabaseSync } from 'node:sqlite';
import { createManualClock } from '@doorbuster/messaging/conformance';
import { describe, expect, it } from 'vitest';
import {
  definitionOf,
  entryOfMember,
  keyOfMember,
  master,
  members,
  operator,
  publish,
  signingKeys,
  verdictsOf,
} from '../../ledger-fixture.ts';
import { systemRandomness } from '../../randomness.ts';
import { FatalLedgerError } from './group-commit.ts';
import { type InProcessOptions, openInProcessLedger } from './in-process.ts';

function openLedger(options: Partial<InProcessOptions> = {}) {
  const clock = createManualClock();
  return {
    clock,
    ledger: openInProcessLedger({
      master,
      signingKeys: signingKeys(),
      clock,
      randomness: systemRandomness(),
      ...options,
    }),
  };
}

const unsynced = 1;
const synced = 2;
const synchronousOf = (db: DatabaseSync): number =>
  (db.prepare('PRAGMA synchronous').get() as { synchronous: number }).synchronous;

describe('group commit', () => {
  it('commits the calls of one turn together; the one that throws is rolled back alone', async () => {
    let transactions = 0;
    const { ledger } = openLedger({
      schedule: (run) =>
        queueMicrotask(() => {
          transactions++;
          run();
        }),
    });
    await publish(ledger, 'c', { capacity: 10 });
    transactions = 0;
    const results = await Promise.allSettled([
      ledger.admission.admit('c', members(2)),
      ledger.admission.admit('nowhere', members(2)),
      ledger.admission.admit('c', [entryOfMember('good'), { ...entryOfMember('bad'), memberKey: 'abcd' }]),
      ledger.admission.admit('c', members(3)),
    ]);
    expect(transactions).toBe(1);
    expect(results.map((r) => r.status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled']);
    expect(results[3]!.status === 'fulfilled' && verdictsOf(results[3]!.value)).toEqual([
      'won again',
      'won again',
      'won',
    ]);
    expect((await ledger.campaigns.get('c'))!.lane).toMatchObject({ seq: 3, free: 7 });
    const doorbells = await ledger.outbox.readUnpublished(10);
    expect(doorbells.map(({ message }) => message.data)).toEqual([{ campaignId: 'c', runs: [[1, 1, 3]] }]);
    expect(await ledger.verify()).toMatchObject({ ok: true });
    await ledger.close();
  });

  it('answers LEDGER_FULL on a full disk, keeps nothing of it, and goes on when there is room', async () => {
    const { ledger } = openLedger();
    await publish(ledger, 'c', { capacity: 5000 });
    await ledger.admission.admit('c', members(10));
    const pages = (ledger.db.prepare('PRAGMA page_count').get() as { page_count: number }).page_count;
    ledger.db.exec(`PRAGMA max_page_count = ${pages}`);
    const full = await Promise.allSettled([
      ledger.admission.admit('c', members(500, 'x')),
      ledger.campaigns.create('d', definitionOf({ capacity: 1 }), operator),
    ]);
    expect(full.map((r) => r.status === 'rejected' && (r.reason as { code: string }).code)).toEqual([
      'LEDGER_FULL',
      'LEDGER_FULL',
    ]);
    expect((await ledger.campaigns.get('c'))!.lane).toMatchObject({ seq: 10, recordNo: 12 });
    ledger.db.exec('PRAGMA max_page_count = 1000000');
    expect(verdictsOf(await ledger.admission.admit('c', members(500, 'x')))).toEqual(Array(500).fill('won'));
    expect(await ledger.verify()).toMatchObject({ ok: true });
    await ledger.close();
  });

  it('syncs every transaction but those of an import’s slices alone; its commit and an entry beside a slice are synced', async () => {
    const { ledger } = openLedger();
    await publish(ledger, 'c', { capacity: 10 });
    const exec = ledger.db.exec.bind(ledger.db);
    const committed: number[] = [];
    ledger.db.exec = (text: string) => {
      if (text === 'COMMIT') committed.push(synchronousOf(ledger.db));
      exec(text);
    };
    const begun = await ledger.imports.begin('c', 'members', 'append', operator);
    if (!begun.ok) throw new Error(begun.code);
    const rows = [{ memberKey: keyOfMember('x'), contact: null, attributes: {} }];
    committed.length = 0;
    await ledger.imports.members(begun.value, rows);
    expect(committed.splice(0)).toEqual([unsynced]);
    await Promise.all([ledger.admission.admit('c', members(1)), ledger.imports.members(begun.value, rows)]);
    expect(committed.splice(0)).toContain(synced);
    await ledger.admission.admit('c', members(2));
    expect(committed.splice(0)).toEqual([synced]);
    await ledger.imports.commit(begun.value);
    expect(committed.filter((mode) => mode === synced)).toHaveLength(1);
    await ledger.close();
  });

  it('ends at once when a commit fails in any other way; nothing is answered after', async () => {
    const failed: Error[] = [];
    const { ledger } = openLedger({ fatal: (error) => void failed.push(error) });
    await publish(ledger, 'c', { capacity: 5 });
    const exec = ledger.db.exec.bind(ledger.db);
    ledger.db.exec = (text: string) => {
      if (text === 'COMMIT') throw Object.assign(new Error('disk I/O error'), { errcode: 10 });
      exec(text);
    };
    let answered = false;
    void ledger.admission.admit('c', members(1)).finally(() => {
      answered = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(failed[0]).toBeInstanceOf(FatalLedgerError);
    expect(answered).toBe(false);
    await expect(ledger.campaigns.tick()).rejects.toMatchObject({ code: 'LEDGER_CLOSED' });
  });

  it('a crash is commit or rollback: what was not acknowledged may be there, what was is', async () => {
    const keys = signingKeys();
    const runs: (() => void)[] = [];
    const { ledger, clock } = openLedger({ signingKeys: keys, schedule: (run) => void runs.push(run) });
    const step = async <T>(work: Promise<T>): Promise<T> => {
      runs.shift()!();
      return work;
    };
    await step(ledger.campaigns.create('c', definitionOf({ capacity: 5 }), operator));
    await step(ledger.campaigns.publish('c', operator));
    const [acknowledged] = await step(ledger.admission.admit('c', members(1)));
    void ledger.admission.admit('c', members(1, 'never'));
    const image = ledger.db.serialize();
    const db = new DatabaseSync(':memory:');
    db.deserialize(image);
    const again = openInProcessLedger({
      master,
      signingKeys: keys,
      clock,
      randomness: systemRandomness(),
      db,
    });
    const answers = await again.admission.admit('c', [...members(1), ...members(1, 'never')]);
    expect(answers[0]!.receipt).toBe(acknowledged!.receipt);
    expect(verdictsOf(answers)).toEqual(['won again', 'won']);
    expect(await again.verify()).toMatchObject({ ok: true });
    await again.close();
  });
});

describe('the authority’s clock', () => {
  it('19: a wall clock stepped by a day opens nothing early and closes nothing early', async () => {
    for (const step of [86_400_000, -86_400_000]) {
      const { ledger, clock } = openLedger();
      const startsAt = clock.now() + 60_000;
      await publish(ledger, 'c', { capacity: 5, startsAt });
      clock.step(step);
      expect(verdictsOf(await ledger.admission.admit('c', members(1)))).toEqual(['not-open']);
      expect(await ledger.campaigns.tick()).toBe(step > 0 ? startsAt + step : startsAt);
      clock.advance(60_000);
      expect(verdictsOf(await ledger.admission.admit('c', members(1)))).toEqual([
        step > 0 ? 'won' : 'not-open',
      ]);
      clock.advance(86_400_000);
      expect(verdictsOf(await ledger.admission.admit('c', members(1)))).toEqual([
        step > 0 ? 'won again' : 'won',
      ]);
      await ledger.close();
    }
  });

  it('opens and closes on the dot by tick, and by the first entry when the tick is late', async () => {
    const { ledger, clock } = openLedger();
    const startsAt = clock.now() + 1000;
    await publish(ledger, 'c', { capacity: 5, startsAt, endsAt: startsAt + 5000 });
    expect(await ledger.campaigns.tick()).toBe(startsAt);
    clock.advance(1000);
    expect(verdictsOf(await ledger.admission.admit('c', members(1)))).toEqual(['won']);
    expect(await ledger.campaigns.tick()).toBe(startsAt + 5000);
    clock.advance(5000);
    expect(await ledger.campaigns.tick()).toBeNull();
    expect(await ledger.campaigns.get('c')).toMatchObject({
      state: 'closed',
      lane: { closeReason: 'ends-at' },
    });
    await ledger.close();
  });
});
