/**
 * Where messages leave a partition: settled, or parked behind the dead letter of their key. What leaves frees the next of its key, and that one may have to be parked in
 * turn; so the two are one.
 */
import { type Clock, pause } from '../../clock.ts';
import type { Commits } from './commits.ts';
import type { Moves } from './moves.ts';
import type { Entry, Partition } from './partition.ts';

export interface ParkingParts {
  readonly clock: Clock;
  readonly moves: Moves;
  readonly commits: Commits;
  /** Whether the reader has been closed. */
  readonly isClosed: () => boolean;
  readonly onTrouble: (error: Error) => void;
}

/** Before what could not be written is tried again. */
export const AGAIN_MS = 100;

export class Parking {
  readonly #parts: ParkingParts;

  constructor(parts: ParkingParts) {
    this.#parts = parts;
  }

  /** Settled. */
  done(entry: Entry): void {
    const { owner } = entry.source;
    this.#parts.commits.mark(entry.source);
    this.park(owner, owner.settle(entry));
  }

  /** Parks what follows a dead letter of its key, in the order of the key. */
  park(owner: Partition, entries: readonly Entry[]): void {
    if (entries.length > 0) void this.#parkAll(owner, entries);
  }

  async #parkAll(owner: Partition, entries: readonly Entry[]): Promise<void> {
    const { clock, moves, commits, isClosed, onTrouble } = this.#parts;
    const at = clock.now();
    while (owner.alive && !isClosed()) {
      try {
        await moves.parked(entries, at);
        break;
      } catch (error) {
        onTrouble(error as Error);
        await pause(clock, AGAIN_MS);
      }
    }
    if (!owner.alive || isClosed()) return;
    for (const entry of entries) this.done(entry);
    await commits.flush().catch(onTrouble);
  }
}
