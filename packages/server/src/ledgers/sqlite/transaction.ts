/**
 * What one transaction gathers beside its rows: batches to sign and lanes that changed, acted upon after the commit only, and the deliveries
 * that became due, which go into the outbox as its last rows. A call that is rolled back alone takes what it gathered with it (`mark`, `rollBackTo`).
 */
import type { EpochMs, LaneState } from '@doorbuster/core';
import type { SealedRow } from './batch-log.ts';

/** An answer that can be built only once the commit has come back: receipts carry a signature, and nothing is signed before. */
export class AfterCommit<T> {
  readonly build: () => T;
  constructor(build: () => T) {
    this.build = build;
  }
}

/** A delivery that became due in this transaction. */
export interface Rung {
  readonly campaignId: string;
  readonly seq: number;
  readonly unit: number;
}

export interface Mark {
  readonly sealed: number;
  readonly lanes: number;
  readonly rung: number;
}

export class Transaction {
  /** The authority's clock, read once. */
  readonly now: EpochMs;
  readonly sealed: SealedRow[] = [];
  readonly lanes: LaneState[] = [];
  readonly rung: Rung[] = [];
  /** Entries so far, also of a call that is rolled back later. */
  entered = 0;

  constructor(now: EpochMs) {
    this.now = now;
  }

  /** Asks for the doorbell of a delivery. One message tells of all that one transaction rings for. */
  ring(campaignId: string, seq: number, unit: number): void {
    this.rung.push({ campaignId, seq, unit });
  }

  mark(): Mark {
    return { sealed: this.sealed.length, lanes: this.lanes.length, rung: this.rung.length };
  }

  rollBackTo(mark: Mark): void {
    this.sealed.length = mark.sealed;
    this.lanes.length = mark.lanes;
    this.rung.length = mark.rung;
  }
}
