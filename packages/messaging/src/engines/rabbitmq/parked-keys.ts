/**
 * Which keys of a partition are parked, and which redriven messages may pass while they are.
 *
 *   free --a message is dead--> parked: fresh messages follow it --the last copy of a redrive is here and nothing is left--> free
 *
 * A redriven message is older than everything that was parked meanwhile and passes. Not so when one before it has failed again: then it stays behind that one,
 * as it did the first time, until a redrive brings both.
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
  /** When the last one was parked. */
  parkedAt: number;
  /** When the last one failed here. */
  failedAt: number;
  /** The redrive that is arriving, and whether its messages pass. */
  redrive: string | undefined;
  passes: boolean;
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

  /** A message of the key has failed. */
  fail(key: string): void {
    const parked = this.#follow(key);
    parked.failedAt = parked.parkedAt;
    parked.passes = false;
  }

  /** A message is parked behind it. */
  follow(key: string): void {
    this.#follow(key);
  }

  #follow(key: string): Parked {
    const parked = this.#keys.get(key) ?? { parkedAt: 0, failedAt: 0, redrive: undefined, passes: false };
    this.#keys.set(key, parked);
    this.#now += 1;
    parked.parkedAt = this.#now;
    return parked;
  }

  learn(held: HeldKeys): void {
    for (const key of held.keys()) if (!this.#keys.has(key)) this.#follow(key);
  }

  /** Letters were taken away: frees what nothing holds any more and nothing was parked for since. */
  release(held: HeldKeys, at: number): void {
    for (const [key, { parkedAt }] of this.#keys)
      if (parkedAt <= at && !held.has(key)) this.#keys.delete(key);
  }

  /** Whether only the dead letters can tell what becomes of the redriven message. */
  isUnsure(key: string, { redrive, isLast }: CopyNote): boolean {
    if (redrive === undefined) return this.#keys.has(key);
    const parked = this.#keys.get(key);
    return isLast === true || (parked !== undefined && parked.redrive !== redrive);
  }

  /** Whether a redriven message passes; the last of its sequence frees the key if nothing is left. */
  admit(key: string, { redrive, isLast }: CopyNote, sight: Sight | undefined): boolean {
    const parked = this.#keys.get(key);
    if (!parked) return true;
    if (parked.redrive !== redrive || redrive === undefined) {
      parked.redrive = redrive;
      parked.passes = redrive === undefined || mayPass(parked, redrive, sight);
    }
    const { passes } = parked;
    if (redrive !== undefined && !isLast) return passes;
    parked.redrive = undefined;
    const isLeft = sight === undefined || (sight.held?.left ?? 0) > 0;
    if (!isLeft && parked.parkedAt <= sight.at) this.#keys.delete(key);
    return passes;
  }
}

/** Nothing that failed stands before it, and its redrive was not overtaken by one that has it as well. */
function mayPass({ failedAt }: Parked, redrive: string, sight: Sight | undefined): boolean {
  if (!sight || failedAt > sight.at) return false;
  const { hasFailed = false, returning = [] } = sight.held ?? {};
  return !hasFailed && (returning.length === 0 || returning.includes(redrive));
}
