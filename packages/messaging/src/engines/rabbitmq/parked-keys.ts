/**
 * Which keys of a partition are parked, and which redriven messages may pass while they are.
 *
 *   free --a message is dead--> parked: fresh messages follow it --the last copy of a redrive is here and nothing is left--> free
 *
 * A redriven message is older than what was parked while it was on its way, and passes. Not so when one before it has failed again: then it stays behind that one, as it
 * did the first time. Their turns tell: of two messages of a key the older one was redriven more often, or as often and arrives first (`inSequence`). So what has arrived
 * and was parked with as many turns is older than the one that arrives, and what is still on its way behind it is older only with more.
 */
import type { HeldKey, HeldKeys } from './placeholders.ts';
import type { CopyNote } from './wire.ts';

/** What the dead letters held of a key when they were looked at. */
export interface Sight {
  /** As counted by `ParkedKeys` before the look. */
  readonly at: number;
  readonly held: HeldKey | undefined;
}

interface Parked {
  /** When the last one of each number of turns was parked here. */
  readonly turns: Map<number, number>;
  at: number;
  /** The redrive that is arriving, and how many turns do not pass. */
  redrive: string | undefined;
  bar: number;
}

export class ParkedKeys {
  readonly #keys = new Map<string, Parked>();
  #now = 0;

  /** Counts what is parked. */
  get now(): number {
    return this.#now;
  }

  has(key: string): boolean {
    return this.#keys.has(key);
  }

  /** A message of the key has failed, or is parked behind one that has. */
  park(key: string, { turn = 0 }: CopyNote): void {
    const parked = this.#keys.get(key) ?? { turns: new Map(), at: 0, redrive: undefined, bar: 0 };
    this.#keys.set(key, parked);
    this.#now += 1;
    parked.at = this.#now;
    parked.turns.set(turn, this.#now);
    parked.bar = Math.max(parked.bar, turn);
  }

  learn(held: HeldKeys): void {
    for (const key of held.keys()) if (!this.#keys.has(key)) this.park(key, {});
  }

  /** Letters were taken away: frees what nothing holds any more and nothing was parked for since. */
  release(held: HeldKeys, since: number): void {
    for (const [key, { at }] of this.#keys) if (at <= since && !held.has(key)) this.#keys.delete(key);
  }

  /** Whether only the dead letters can tell what becomes of the redriven message. */
  isUnsure(key: string, { redrive, isLast }: CopyNote): boolean {
    if (redrive === undefined) return this.#keys.has(key);
    const parked = this.#keys.get(key);
    return isLast === true || (parked !== undefined && parked.redrive !== redrive);
  }

  /** Whether a redriven message passes; the last of its sequence frees the key if nothing is left. */
  admit(key: string, { redrive, isLast, turn = 0 }: CopyNote, sight: Sight | undefined): boolean {
    const parked = this.#keys.get(key);
    if (!parked) return true;
    // An older version let all pass.
    if (redrive === undefined) {
      this.#freeIfLast(key, parked, sight);
      return true;
    }
    if (sight && parked.redrive !== redrive) {
      parked.redrive = redrive;
      parked.bar = barOf(parked, redrive, sight);
    }
    const passes = parked.redrive === redrive && turn > parked.bar;
    if (isLast) {
      parked.redrive = undefined;
      this.#freeIfLast(key, parked, sight);
    }
    return passes;
  }

  #freeIfLast(key: string, { at }: Parked, sight: Sight | undefined): void {
    if (sight && (sight.held?.left ?? 0) === 0 && at <= sight.at) this.#keys.delete(key);
  }
}

function barOf({ turns }: Parked, redrive: string, { at, held }: Sight): number {
  let bar = held?.turn ?? 0;
  for (const [turn, parkedAt] of turns) if (parkedAt > at) bar = Math.max(bar, turn);
  const returning = held?.returning ?? [];
  const mine = returning.findIndex((one) => one.redrive === redrive);
  for (const { turn } of returning.slice(mine + 1)) bar = Math.max(bar, turn - 1);
  return bar;
}
