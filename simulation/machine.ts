/** The simulated machine: what stays when a process goes, and what is wrong with it now. */
import type { SigningKey } from '../packages/server/src/secrets.ts';
import type { Vault } from '../packages/server/src/vault.ts';
import type { LostMessages } from './bus-faults.ts';
import type { CommitWatch } from './commit-watch.ts';
import type { Disk } from './disk.ts';
import type { ProviderBooks } from './providers.ts';
import type { World } from './world.ts';

export interface Machine {
  readonly world: World;
  readonly disk: Disk;
  readonly books: ProviderBooks;
  readonly commits: CommitWatch;
  readonly lostMessages: LostMessages;
  readonly master: Uint8Array;
  readonly vault: Vault;
  readonly signingKeys: readonly SigningKey[];
  readonly crash: ArmedCrash;
  /** When a worker stood still, observer's time. */
  readonly standstills: { readonly from: number; readonly to: number }[];
  /** Extra time of every transaction while the writer is slow, ms. */
  writerDelayMs: number;
  /** No transaction of the ledger begins before. Observer's time, ms. */
  stuckUntil: number;
  /** What happens at the next transaction of the ledger; null: nothing. */
  atNextCommit: 'crash-before-commit' | 'lost-commit-reply' | null;
}

/** Where a process waits for something: every await of the code under test hangs on one of these, or on a timer. */
export const crashPoints = [
  'bus-asked',
  'bus-answered',
  'provider-asked',
  'provider-answered',
  'answer',
  'tally',
  'tally-inside',
] as const;
export type CrashPoint = (typeof crashPoints)[number];

/** A crash that waits for the n-th crossing of a point. */
export class ArmedCrash {
  #point: CrashPoint | null = null;
  #left = 0;

  arm(point: CrashPoint, crossings: number): void {
    this.#point = point;
    this.#left = crossings;
  }

  disarm(): void {
    this.#point = null;
  }

  get isArmed(): boolean {
    return this.#point !== null;
  }

  strikes(point: CrashPoint): boolean {
    if (this.#point !== point) return false;
    this.#left -= 1;
    if (this.#left > 0) return false;
    this.#point = null;
    return true;
  }
}
