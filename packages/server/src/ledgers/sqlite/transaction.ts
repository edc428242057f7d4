/**
 * What one transaction gathers beside its rows: batches to sign, lanes that changed, the doorbell of the outbox. All of it is acted upon after the
 * commit only. A call that is rolled back alone takes what it gathered with it (`mark`, `rollBackTo`).
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
export type Answer<T> = T | AfterCommit<T>;

export interface Mark {
  readonly sealed: number;
  readonly lanes: number;
  readonly outbox: number;
}

export class Transaction {
  /** The authority's clock, read once. */
  readonly now: EpochMs;
  readonly sealed: SealedRow[] = [];
  readonly lanes: LaneState[] = [];
  outbox = 0;

  constructor(now: EpochMs) {
    this.now = now;
  }

  mark(): Mark {
    return { sealed: this.sealed.length, lanes: this.lanes.length, outbox: this.outbox };
  }

  rollBackTo(mark: Mark): void {
    this.sealed.length = mark.sealed;
    this.lanes.length = mark.lanes;
    this.outbox = mark.outbox;
  }
}
