/**
 * When each batch of records became durable, on the observer's clock: read off the ledger's file after each of its transactions, not told by the code
 * under test.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { ObservedCommit } from '@doorbuster/core';
import type { World } from './world.ts';

interface Row {
  readonly number: number;
  readonly id: string;
  readonly lane: number;
  readonly first: number;
  readonly count: number;
}

const selectNew = `SELECT b.rowid AS number, c.id, b.lane, b.first_record_no AS first, b.count
  FROM batches b JOIN campaigns c USING (campaign) WHERE b.rowid > ? ORDER BY b.rowid`;

export class CommitWatch {
  readonly commits: ObservedCommit[] = [];
  readonly #world: World;
  #statement: StatementSync | null = null;
  #seen = 0;

  constructor(world: World) {
    this.#world = world;
  }

  attach(db: DatabaseSync): void {
    this.#statement = db.prepare(selectNew);
  }

  look(): void {
    for (const row of (this.#statement?.all(this.#seen) ?? []) as unknown as Row[]) {
      this.#seen = row.number;
      this.#world.note('commit', row.id, row.first, row.count);
      const { id: campaign, lane, first: firstRecordNo, count } = row;
      this.commits.push({ campaign, lane, firstRecordNo, count, committedAt: this.#world.now });
    }
  }
}
