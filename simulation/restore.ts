/**
 * A backup taken and put back in the middle of a run, by the command line's own code on real files. What was acknowledged in between is gone, and
 * must be said to be gone: the chain goes on in a new epoch. So what was seen before is judged against the ledger that was there, and only what
 * the backup holds is judged again at the end.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Receipt } from '@doorbuster/core';
import { restoreLedgerFile } from '../packages/server/src/ledgers/sqlite/offline.ts';
import type { Book } from './book.ts';
import type { Machine } from './machine.ts';

/** A file in write-ahead mode says so in its header, and a database in memory has no such mode. */
const journalBytes = [18, 19];
const rollbackJournal = 1;
const memoryFolder = '/dev/shm';

export class Restores {
  /** Campaigns that were ever put back, with the record at which their last backup ends. */
  readonly lastRecords = new Map<string, number>();
  readonly #machine: Machine;
  readonly #book: Book;
  readonly #judge: (ledger: DatabaseSync) => void;
  readonly #epochs = new Map<string, number>();
  #backup: { readonly image: Uint8Array; readonly at: number } | null = null;

  /** `judge`: the audit of what was seen so far, on the ledger that is about to go. */
  constructor(machine: Machine, book: Book, judge: (ledger: DatabaseSync) => void) {
    this.#machine = machine;
    this.#book = book;
    this.#judge = judge;
  }

  /** False while no process has the ledger open. */
  takeBackup(): boolean {
    const image = this.#machine.disk.copy('ledger');
    if (image === null) return false;
    this.#backup = { image, at: this.#machine.world.now };
    this.#machine.world.note('backup taken');
    return true;
  }

  /** While no process runs. */
  putBack(): void {
    const { disk, commits } = this.#machine;
    const current = disk.image('ledger');
    const backup = this.#backup;
    if (current === null || backup === null) return;
    withDatabase(current, this.#judge);
    const restored = this.#restored(backup.image, current);
    disk.replace('ledger', restored);
    const before = lanesOf(current);
    const after = lanesOf(restored);
    withDatabase(backup.image, (db) => commits.rewind(db));
    const told = new Map<string, number>();
    for (const [id, { record }] of lanesOf(backup.image)) {
      const seen = Math.max(before.get(id)?.epoch ?? 0, this.#epochs.get(id) ?? 0);
      const { epoch } = after.get(id) ?? { epoch: 0 };
      this.#epochs.set(id, Math.max(seen, epoch));
      // Only a new epoch says that something may be missing; without it everything acknowledged still binds.
      if (epoch > seen) told.set(id, record);
    }
    for (const id of before.keys()) if (!after.has(id)) told.set(id, 0);
    for (const [id, record] of told) this.lastRecords.set(id, record);
    this.#forget(backup.at, told);
    this.#machine.world.note('backup put back', Math.round(this.#machine.world.now - backup.at));
  }

  #restored(backup: Uint8Array, current: Uint8Array): Uint8Array {
    const { world, master, signingKeys } = this.#machine;
    const folder = mkdtempSync(
      join(existsSync(memoryFolder) ? memoryFolder : tmpdir(), 'doorbuster-simulation-'),
    );
    try {
      const from = join(folder, 'backup.sqlite');
      writeFileSync(from, backup);
      writeFileSync(join(folder, 'ledger.sqlite'), current);
      const randomness = world.random(`restore ${world.now}`);
      restoreLedgerFile(from, folder, { master, signingKeys, clock: world.clock, randomness });
      const image = readFileSync(join(folder, 'ledger.sqlite'));
      for (const at of journalBytes) image[at] = rollbackJournal;
      return image;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  /** What only the lost ledger knew was judged; it binds nobody any more. */
  #forget(since: number, told: ReadonlyMap<string, number>): void {
    const book = this.#book;
    const survives = (campaign: string, recordNo: number | null, at: number): boolean => {
      const last = told.get(campaign);
      return last === undefined || at < since || (recordNo !== null && recordNo <= last);
    };
    book.answers = book.answers.filter(({ campaign, recordNo, endedAt }) =>
      survives(campaign, recordNo, endedAt),
    );
    book.receipts = new Map(
      [...book.receipts].filter(([, receipt]) => survives(receipt.campaign, numberOf(receipt), since)),
    );
    book.revealed = book.revealed.filter(({ shownAt }) => shownAt < since);
    book.pendings = new Map([...book.pendings].filter(([, at]) => at < since));
    for (const lost of [book.bannedAt, book.erasedAt])
      for (const [key, at] of lost) if (at >= since) lost.delete(key);
    this.#machine.books.forgetMessages(since, this.#machine.world.now);
  }
}

function numberOf({ record }: Receipt): number {
  return (JSON.parse(record) as { readonly recordNo: number }).recordNo;
}

/** Epoch and last record of each lane. */
function lanesOf(
  image: Uint8Array,
): ReadonlyMap<string, { readonly epoch: number; readonly record: number }> {
  const lanes = new Map<string, { readonly epoch: number; readonly record: number }>();
  withDatabase(image, (db) => {
    const rows = db
      .prepare('SELECT c.id, l.epoch, l.record_no AS record FROM lanes l JOIN campaigns c USING (campaign)')
      .all() as unknown as { id: string; epoch: number; record: number }[];
    for (const { id, epoch, record } of rows) lanes.set(id, { epoch, record });
  });
  return lanes;
}

function withDatabase(image: Uint8Array, use: (db: DatabaseSync) => void): void {
  const db = new DatabaseSync(':memory:');
  try {
    db.deserialize(image);
    use(db);
  } finally {
    db.close();
  }
}
