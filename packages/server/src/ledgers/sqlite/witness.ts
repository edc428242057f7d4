/**
 * The witness: a small file beside the ledger that remembers how far each lane was. A ledger that shows less, or another head at that record, was
 * rolled back (a restored copy, a stale disk): its lane halts for a person. The witness can stop a lane, it can never admit to one, so it may lag:
 * it is written at most once a second, off the commit's path.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import type { Digest } from '@doorbuster/core';
import { OperationalError } from '../../errors.ts';
import type { SealedRow } from './batch-log.ts';
import type { Halts } from './halts.ts';
import { readLane } from './lane-rows.ts';
import { blobOf, type Sql } from './sql.ts';

export interface WitnessedLane {
  readonly epoch: number;
  readonly recordNo: number;
  readonly head: Digest;
}
export type Witnessed = Readonly<Record<string, WitnessedLane>>;

/** Empty when there is no file yet. Throws LEDGER_DAMAGED when it cannot be read. */
export function readWitness(path: string): Witnessed {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return {};
    throw error;
  }
  try {
    const file = JSON.parse(text) as { version?: unknown; lanes?: Witnessed };
    if (file.version !== 1 || typeof file.lanes !== 'object' || file.lanes === null)
      throw new Error('unknown version');
    return file.lanes;
  } catch (cause) {
    throw new OperationalError('LEDGER_DAMAGED', {
      detail: `The witness file ${path} cannot be read; \`doorbuster verify\`, then remove it.`,
      cause,
    });
  }
}

/** Halts every lane that shows less than was witnessed. */
export function compareWithWitness(sql: Sql, lanes: Witnessed, halts: Halts): void {
  for (const { campaignId, reason } of rolledBack(sql, lanes)) halts.halt(campaignId, reason);
}

/** The lanes that show less than was witnessed, and how. */
export function rolledBack(
  sql: Sql,
  lanes: Witnessed,
): readonly { readonly campaignId: string; readonly reason: string }[] {
  return Object.entries(lanes).flatMap(([campaignId, seen]) => {
    const reason = reasonToHalt(sql, campaignId, seen);
    return reason === null ? [] : [{ campaignId, reason }];
  });
}

function reasonToHalt(sql: Sql, id: string, seen: WitnessedLane): string | null {
  const campaign = sql.get<{ campaign: number }>('SELECT campaign FROM campaigns WHERE id = ?', id)?.campaign;
  const lane = campaign === undefined ? null : readLane(sql, campaign, id);
  if (campaign === undefined || lane === null)
    return `record ${seen.recordNo} was witnessed, the ledger has no such lane`;
  const { epoch, recordNo } = lane.state;
  if (epoch > seen.epoch) return null;
  if (epoch < seen.epoch) return `epoch ${seen.epoch} was witnessed, the ledger is in epoch ${epoch}`;
  if (recordNo < seen.recordNo)
    return `record ${seen.recordNo} was witnessed, the ledger ends with ${recordNo}`;
  const same = sql.get(
    'SELECT 1 FROM batches WHERE campaign = ? AND lane = 0 AND first_record_no <= ?2 AND first_record_no + count - 1 = ?2 AND head = ?3',
    campaign,
    seen.recordNo,
    blobOf(seen.head),
  );
  return same === undefined ? `another head was witnessed at record ${seen.recordNo}` : null;
}

export class Witness {
  readonly #path: string;
  readonly #lanes: Map<string, WitnessedLane>;
  #dirty = false;
  #writing: Promise<void> | null = null;

  constructor(path: string, lanes: Witnessed) {
    this.#path = path;
    this.#lanes = new Map(Object.entries(lanes));
  }

  /** After a commit. */
  note(rows: readonly SealedRow[]): void {
    for (const { batch } of rows) {
      const { campaign, epoch, firstRecordNo, count, head } = batch.head;
      this.#lanes.set(campaign, { epoch, recordNo: firstRecordNo + count - 1, head });
      this.#dirty = true;
    }
  }

  get isDirty(): boolean {
    return this.#dirty;
  }

  #text(): string {
    return JSON.stringify({ version: 1, lanes: Object.fromEntries(this.#lanes) });
  }

  /** Written whole or not at all. One writing at a time. A failure is left for the next time: the witness may lag. */
  write(): Promise<void> {
    this.#writing ??= this.#write().finally(() => {
      this.#writing = null;
    });
    return this.#writing;
  }

  async #write(): Promise<void> {
    this.#dirty = false;
    const draft = `${this.#path}.new`;
    try {
      const file = await open(draft, 'w', 0o600);
      // Closed also when the disk is full: a handle left to the garbage collector ends the writer thread.
      try {
        await file.writeFile(this.#text());
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(draft, this.#path);
    } catch {
      this.#dirty = true;
    }
  }

  /** At the close: after a writing that is under way, or its older text would come last. */
  async writeLast(): Promise<void> {
    await this.#writing;
    writeWitness(this.#path, Object.fromEntries(this.#lanes));
  }
}

export function writeWitness(path: string, lanes: Witnessed): void {
  const draft = `${path}.last`;
  const fd = openSync(draft, 'w', 0o600);
  writeSync(fd, JSON.stringify({ version: 1, lanes }));
  fsyncSync(fd);
  closeSync(fd);
  renameSync(draft, path);
}
