/**
 * When each batch of records became durable, on the observer's clock: read off the ledger's file after each of its transactions, not told by the code
 * under test. Whoever waits for a moment (a lane that just sold out) hears of it here.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { LaneRecord, ObservedCommit } from '@doorbuster/core';
import type { Coverage } from './coverage.ts';
import type { World } from './world.ts';

interface Row {
  readonly number: number;
  readonly id: string;
  readonly lane: number;
  readonly first: number;
  readonly count: number;
  readonly records: string;
}

const selectNew = `SELECT b.rowid AS number, c.id, b.lane, b.first_record_no AS first, b.count, b.records
  FROM batches b JOIN campaigns c USING (campaign) WHERE b.rowid > ? ORDER BY b.rowid`;

export type Committed = { readonly campaignId: string; readonly records: readonly LaneRecord[] };

export class CommitWatch {
  commits: ObservedCommit[] = [];
  readonly #world: World;
  readonly #phases = new Map<string, string>();
  readonly #returned = new Set<string>();
  #listener: (committed: Committed) => void = () => {};
  #statement: StatementSync | null = null;
  #seen = 0;

  constructor(world: World) {
    this.#world = world;
    world.phases = () => [...new Set(this.#phases.values())];
  }

  attach(db: DatabaseSync): void {
    this.#statement = db.prepare(selectNew);
  }

  onCommit(listener: (committed: Committed) => void): void {
    this.#listener = listener;
  }

  look(): void {
    for (const row of (this.#statement?.all(this.#seen) ?? []) as unknown as Row[]) {
      this.#seen = row.number;
      const { id: campaign, lane, first: firstRecordNo, count } = row;
      const records = row.records.split('\n').map((text) => JSON.parse(text) as LaneRecord);
      this.#world.note('commit', campaign, firstRecordNo, records.map(({ type }) => type).join(' '));
      this.commits.push({ campaign, lane, firstRecordNo, count, committedAt: this.#world.now });
      for (const record of records) this.#cover(campaign, record, this.#world.coverage);
      this.#listener({ campaignId: campaign, records });
    }
  }

  /** The ledger is an older copy of itself: forgets the batches that are not in it. */
  rewind(db: DatabaseSync): void {
    const { last } = db.prepare('SELECT coalesce(max(rowid), 0) AS last FROM batches').get() as {
      last: number;
    };
    this.#seen = last;
    const ends = new Map(
      (
        db
          .prepare('SELECT c.id, l.record_no AS record FROM lanes l JOIN campaigns c USING (campaign)')
          .all() as unknown as { id: string; record: number }[]
      ).map(({ id, record }) => [id, record]),
    );
    this.commits = this.commits.filter(
      ({ campaign, firstRecordNo, count }) => firstRecordNo + count - 1 <= (ends.get(campaign) ?? 0),
    );
  }

  #cover(campaign: string, record: LaneRecord, coverage: Coverage): void {
    coverage.see('record', record.type);
    const to = (
      { PUBLISHED: 'scheduled', OPENED: 'open', PAUSED: 'paused', RESUMED: 'open', CLOSED: 'closed' } as const
    )[record.type as 'OPENED'] as string | undefined;
    if (to !== undefined) {
      const from = this.#phases.get(campaign);
      if (from !== undefined && record.type !== 'PUBLISHED') coverage.see('lane', `${from} > ${to}`);
      this.#phases.set(campaign, to);
    }
    if (record.type === 'CLOSED') coverage.see('lane', `closed by ${record.reason}`);
    if (record.type === 'SOLD_OUT') coverage.see('lane', 'sold out');
    if (record.type === 'REOPENED') coverage.see('lane', 'reopened');
    if (record.type === 'RESTORED') coverage.see('lane', 'epoch raised');
    if (record.type === 'REVOKED') {
      const fate =
        record.unitBecomes === null ? 'revoked while waiting' : `revoked unit becomes ${record.unitBecomes}`;
      coverage.see('lane', fate);
      if (record.unitBecomes === 'free') this.#returned.add(`${campaign} ${record.unit}`);
    }
    if (
      (record.type === 'ENTRY' || record.type === 'PROMOTED') &&
      this.#returned.delete(`${campaign} ${record.unit}`)
    )
      coverage.see('lane', 'returned unit given again');
  }
}
