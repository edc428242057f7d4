/**
 * The unique index that follows the entries: every member is found at every moment of a run, by writer and reader, after a crash and a rollback, and a
 * second entry of a member, however it came there, is found and halts its lane.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type Log, silentLog } from '@doorbuster/messaging';
import { createManualClock } from '@doorbuster/messaging/conformance';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Signer } from '../../audit/signer.ts';
import type { AdmissionCommand } from '../../ledger.ts';
import {
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
import { Vault } from '../../vault.ts';
import { type InProcessLedger, openInProcessLedger } from './in-process.ts';
import { openSqliteLedger } from './open.ts';
import { openStore, type Store } from './store.ts';
import { verifyLedger } from './verify.ts';

const keys = signingKeys();
const clock = createManualClock();
const randomness = systemRandomness();
const opened: InProcessLedger[] = [];

function open(db?: DatabaseSync, shortestRun = 20): InProcessLedger {
  const file = db === undefined ? {} : { db };
  const ledger = openInProcessLedger({ master, signingKeys: keys, clock, randomness, shortestRun, ...file });
  opened.push(ledger);
  return ledger;
}

afterEach(async () => {
  for (const ledger of opened.splice(0)) await ledger.close();
});

/** What a process that starts now would find. */
function copyOf(db: DatabaseSync): DatabaseSync {
  const copy = new DatabaseSync(':memory:');
  copy.deserialize(db.serialize());
  return copy;
}

const check = (db: DatabaseSync) => verifyLedger(db, { verifySignature: null }).violations;
const one = (db: DatabaseSync, text: string): unknown => Object.values(db.prepare(text).get() ?? {})[0];
const sealed = (db: DatabaseSync): unknown =>
  one(db, 'SELECT sealed_seq FROM key_runs WHERE campaign = 1') ?? 0;
const halfway = (db: DatabaseSync): boolean =>
  one(db, 'SELECT length(after_key) FROM key_runs WHERE campaign = 1') === 16;

function readerOf(db: DatabaseSync): Store {
  return openStore({
    db,
    clock,
    randomness,
    vault: new Vault(master),
    signer: new Signer(keys),
    role: 'reader',
  });
}

function seqIn(store: Store, name: string): number | null {
  return store.keys.seqOf(1, Buffer.from(keyOfMember(name), 'hex'));
}

async function admitted(ledger: InProcessLedger, ...commands: AdmissionCommand[]): Promise<string[]> {
  return verdictsOf(await ledger.admission.admit('c', commands));
}

describe('runs of keys', () => {
  it('are sealed beside admission; at every moment a member is found, and enters once', async () => {
    const ledger = open();
    await publish(ledger, 'c', { capacity: 500 });
    const reader = readerOf(ledger.db);
    let half = 0;
    for (let i = 0; i < 150; i += 2) {
      await admitted(ledger, ...[i, i + 1].map((n) => entryOfMember(`m${n}`)));
      half += halfway(ledger.db) ? 1 : 0;
      for (const n of [0, i >> 1, i + 1]) {
        expect(seqIn(reader, `m${n}`)).toBe(n + 1);
        expect(await admitted(ledger, entryOfMember(`m${n}`, null, 1))).toEqual(['won again']);
      }
      expect(seqIn(reader, `m${i + 2}`)).toBeNull();
      expect(check(ledger.db)).toEqual([]);
    }
    expect(half).toBeGreaterThan(3);
    expect(sealed(ledger.db)).toBeGreaterThan(100);
    expect((await ledger.campaigns.get('c'))!.lane!.seq).toBe(150);
  });

  it('keep pace with a crowd that fills the largest batches', async () => {
    const ledger = open(undefined, 600);
    await publish(ledger, 'c', { capacity: 20_000 });
    for (let i = 0; i < 10; i++)
      await Promise.all(['a', 'b'].map((half) => ledger.admission.admit('c', members(512, `${half}${i}-`))));
    expect((await ledger.campaigns.get('c'))!.lane!.seq).toBe(10_240);
    expect(sealed(ledger.db)).toBeGreaterThan(5_120);
    expect(check(ledger.db)).toEqual([]);
  });

  it('a tail of many thousands is read whole, at every start and by every reader', async () => {
    const ledger = open(undefined, 50_000);
    await publish(ledger, 'c', { capacity: 10_000 });
    const all = members(9_000);
    for (let i = 0; i < all.length; i += 500) await ledger.admission.admit('c', all.slice(i, i + 500));
    expect(sealed(ledger.db)).toBe(0);
    const reader = readerOf(ledger.db);
    for (const n of [0, 4_095, 4_096, 8_191, 8_192, 8_999]) expect(seqIn(reader, `m${n}`)).toBe(n + 1);
    expect(seqIn(reader, 'm9000')).toBeNull();
    const keysOf: string[] = [];
    for await (const chunk of ledger.admission.memberKeys('c'))
      for (let at = 0; at < chunk.length; at += 16)
        keysOf.push(Buffer.from(chunk.subarray(at, at + 16)).toString('hex'));
    expect(keysOf).toEqual(all.map(({ memberKey }) => memberKey));
    const again = open(copyOf(ledger.db), 50_000);
    expect(await admitted(again, entryOfMember('m8999', null, 1), entryOfMember('m9000'))).toEqual([
      'won again',
      'won',
    ]);
  });

  it('go on after a crash at any moment', async () => {
    let ledger = open();
    await publish(ledger, 'c', { capacity: 500 });
    let half = 0;
    for (let i = 0; i < 150; i++) {
      await admitted(ledger, entryOfMember(`m${i}`));
      if (i % 8 < 7) continue;
      half += halfway(ledger.db) ? 1 : 0;
      ledger = open(copyOf(ledger.db));
      expect(await admitted(ledger, entryOfMember(`m${i >> 1}`))).toEqual(['won again']);
    }
    expect(half).toBeGreaterThan(2);
    expect(sealed(ledger.db)).toBeGreaterThan(100);
    expect(check(ledger.db)).toEqual([]);
  });

  it('go on after a transaction that was rolled back whole', async () => {
    const ledger = open();
    await publish(ledger, 'c', { capacity: 5000 });
    let refused = 0;
    for (let i = 0; i < 60; i++) {
      const pages = one(ledger.db, 'PRAGMA page_count') as number;
      // Every third time there is no room for 100 entries: SQLITE_FULL, at whatever point the run has come to.
      if (i % 3 === 0) ledger.db.exec(`PRAGMA max_page_count = ${pages}`);
      const many = members(100, `late${i}-`);
      const full = i % 3 === 0 && (await ledger.admission.admit('c', many).catch(() => null)) === null;
      refused += full ? 1 : 0;
      ledger.db.exec('PRAGMA max_page_count = 1000000');
      await admitted(ledger, entryOfMember(`m${i}`));
      const after = full ? await admitted(ledger, many[7]!) : ['won'];
      expect(after).toEqual(['won']);
      expect(await admitted(ledger, entryOfMember(`m${i >> 1}`))).toEqual(['won again']);
      expect(check(ledger.db)).toEqual([]);
    }
    expect(refused).toBeGreaterThan(5);
    expect(sealed(ledger.db)).toBeGreaterThan(30);
  });

  it.each([
    ['begins', () => 0],
    ['is under way', (steps: number) => steps >> 1],
    ['ends', (steps: number) => steps - 1],
  ])(
    'go on without another entry after a rollback of the transaction in which a run %s',
    async (_, moment) => {
      const folder = mkdtempSync(join(tmpdir(), 'runs-'));
      const path = join(folder, 'ledger.sqlite');
      const ledger = open(new DatabaseSync(path));
      // Without a WAL, a reader in the midst of reading keeps a commit from ending: SQLITE_BUSY, with the slice of the run already taken.
      const reader = new DatabaseSync(path);
      try {
        const undisturbed = open();
        for (const each of [ledger, undisturbed]) {
          await publish(each, 'c', { capacity: 500 });
          await admitted(each, ...members(12));
          await each.campaigns.command('c', { type: 'close' }, operator);
          expect(sealed(each.db)).toBe(0);
        }
        let steps = 0;
        for (; sealed(undisturbed.db) !== 12; steps++) await undisturbed.campaigns.tick();
        for (let i = 0; i < moment(steps); i++) await ledger.campaigns.tick();
        reader.exec('BEGIN; SELECT count(*) FROM lanes');
        await expect(ledger.campaigns.tick()).rejects.toMatchObject({ code: 'LEDGER_BUSY' });
        reader.exec('COMMIT');
        expect(sealed(ledger.db)).toBe(0);
        for (let i = 0; i < 2 * steps; i++) await ledger.campaigns.tick();
        expect(sealed(ledger.db)).toBe(12);
        expect(check(ledger.db)).toEqual([]);
      } finally {
        reader.close();
        await ledger.close();
        opened.splice(opened.indexOf(ledger), 1);
        rmSync(folder, { recursive: true });
      }
    },
  );

  it('take in all that is left when the lane has closed', async () => {
    const ledger = open();
    await publish(ledger, 'c', { capacity: 500 });
    await admitted(ledger, ...members(7));
    expect(sealed(ledger.db)).toBe(0);
    await ledger.campaigns.command('c', { type: 'close' }, operator);
    for (let i = 0; i < 10; i++) await ledger.campaigns.tick();
    expect(sealed(ledger.db)).toBe(7);
    expect(seqIn(readerOf(ledger.db), 'm3')).toBe(4);
    expect(await admitted(ledger, entryOfMember('m3'), entryOfMember('late'))).toEqual([
      'won again',
      'closed',
    ]);
  });

  it('lose the key of whoever is erased, wherever it has come to', async () => {
    for (let moment = 0; moment < 25; moment++) {
      const ledger = open();
      await publish(ledger, 'c', { capacity: 500 });
      for (let i = 0; i < 12; i++) await admitted(ledger, entryOfMember(`m${i}`));
      await ledger.campaigns.command('c', { type: 'close' }, operator);
      for (let i = 0; i < moment; i++) await ledger.campaigns.tick();
      for (const name of ['m0', 'm5', 'm11'])
        expect(await ledger.evidence.erase('c', keyOfMember(name), operator)).toBe(true);
      expect(check(ledger.db), `at moment ${moment}`).toEqual([]);
      // Also of a run that a crash broke off.
      const after = open(copyOf(ledger.db));
      for (let i = 0; i < 25; i++) await after.campaigns.tick();
      expect(check(after.db), `after moment ${moment}`).toEqual([]);
      expect(sealed(after.db)).toBe(12);
      const reader = readerOf(after.db);
      expect(['m0', 'm5', 'm11', 'm6'].map((name) => seqIn(reader, name))).toEqual([null, null, null, 7]);
      const text = 'SELECT count(*) FROM entry_keys WHERE member_key = ?';
      for (const name of ['m0', 'm5', 'm11'])
        expect(after.db.prepare(text).get(Buffer.from(keyOfMember(name), 'hex'))).toEqual({ 'count(*)': 0 });
    }
  });
});

describe('a second entry of a member', () => {
  /** Changes a row behind the ledger's back, as a bug or a hand on the file would. */
  async function planted(where: 'in one run' | 'in two runs'): Promise<InProcessLedger> {
    const ledger = open();
    await publish(ledger, 'c', { capacity: 500 });
    await publish(ledger, 'other', { capacity: 500 });
    const first = where === 'in one run' ? 2 : 60;
    for (let i = 0; i < first; i++) await admitted(ledger, entryOfMember(`m${i}`));
    await admitted(ledger, entryOfMember('twin'));
    ledger.db.exec(
      `UPDATE entries SET member_key = (SELECT member_key FROM entries WHERE campaign = 1 AND seq = 1) WHERE campaign = 1 AND seq = ${first + 1}`,
    );
    return ledger;
  }

  async function admitOn(ledger: InProcessLedger): Promise<unknown> {
    for (let i = 0; i < 40; i++) {
      try {
        await admitted(ledger, entryOfMember(`more${i}`));
      } catch (error) {
        return error;
      }
    }
    return null;
  }

  it.each(['in one run', 'in two runs'] as const)('%s halts its lane, and stays halted', async (where) => {
    const ledger = await planted(where);
    expect(check(ledger.db).map(({ invariant }) => invariant)).toContain('I3');
    expect(await admitOn(ledger)).toMatchObject({ code: 'LEDGER_HALTED' });
    expect(ledger.halted()).toMatchObject([
      { campaignId: 'c', reason: expect.stringContaining('two entries') },
    ]);
    expect(verdictsOf(await ledger.admission.admit('other', members(3)))).toEqual(['won', 'won', 'won']);
    const after = open(copyOf(ledger.db));
    expect(after.halted()).toMatchObject([{ campaignId: 'c' }]);
    expect(await admitOn(after)).toMatchObject({ code: 'LEDGER_HALTED' });
    expect(verdictsOf(await after.admission.admit('other', members(4)))).toContain('won');
  });

  it('control: without one nothing halts', async () => {
    const ledger = open();
    await publish(ledger, 'c', { capacity: 500 });
    expect(await admitOn(ledger)).toBeNull();
    expect(ledger.halted()).toEqual([]);
  });
});

describe('behind the threads', () => {
  /** A ledger in a directory of its own with 300 entries of a lane that is closed once `change` was made behind its back. */
  async function closedAfter(
    change: string | null,
    run: (file: DatabaseSync, log: string[]) => Promise<void>,
  ) {
    const dataDir = mkdtempSync(join(tmpdir(), 'runs-'));
    const told: string[] = [];
    const log: Log = { ...silentLog, error: (fields) => void told.push(JSON.stringify(fields)) };
    const fatal = (error: Error): never => {
      throw error;
    };
    const ledger = await openSqliteLedger({
      dataDir,
      master,
      signingKeys: keys,
      log,
      fatal,
      allowVolatile: true,
    });
    const file = new DatabaseSync(join(dataDir, 'ledger.sqlite'), { timeout: 10_000 });
    try {
      await publish(ledger, 'c', { capacity: 500 });
      await ledger.admission.admit('c', members(300));
      expect(await ledger.admission.entryOf('c', keyOfMember('m299'))).toMatchObject({ seq: 300 });
      if (change !== null) file.exec(change);
      await ledger.campaigns.command('c', { type: 'close' }, operator);
      await run(file, told);
      expect(ledger.halted().map(({ campaignId }) => campaignId)).toEqual(change === null ? [] : ['c']);
    } finally {
      file.close();
      await ledger.close();
      rmSync(dataDir, { recursive: true });
    }
  }

  it('a closed lane is sealed while nothing else is to be written, without a call', { timeout: 60_000 }, () =>
    closedAfter(null, async (file, told) => {
      await vi.waitFor(() => expect(sealed(file)).toBe(300), { timeout: 50_000, interval: 100 });
      expect(one(file, 'SELECT count(*) FROM entry_keys')).toBe(300);
      expect(told).toEqual([]);
    }),
  );

  it('a lane that halts while it is served is told at once', { timeout: 60_000 }, () =>
    closedAfter(
      'UPDATE entries SET member_key = (SELECT member_key FROM entries WHERE seq = 7) WHERE seq = 200',
      async (_file, told) => {
        await vi.waitFor(() => expect(told).toHaveLength(1), { timeout: 50_000, interval: 100 });
        expect(told[0]).toContain('two entries');
      },
    ),
  );
});
