/**
 * What stands in the dead letters for a sequence of a key that is on its way back: a placeholder, put there when all copies are in the partition and before
 * the letters leave, and taken by whoever reads the partition when the LAST copy arrives. Letters and placeholders hold their key alike, so a key is held
 * at every moment between its first dead letter and the end of its sequence, also for a process that reads the partition from now on.
 *
 *   letters --copies confirmed--> letters and placeholder --letters removed--> placeholder --last copy arrived--> free
 *
 * A placeholder is the last letter of the sequence with one more field, and the turn of its first copy. People never see it; a version that does not know the field lists one letter
 * too many, and to redrive that repeats a message and loses none.
 */
import type { ConsumeMessage } from 'amqplib';
import type { StoredLetter } from './letters.ts';
import type { Parcel } from './wire.ts';

/** The group of followers. */
export const BEHIND_ITS_KEY = 'parked behind its key';

export interface Held {
  readonly letter: StoredLetter;
  readonly amqp: ConsumeMessage;
}

/** What stands in the dead letters for one key. */
export interface HeldKey {
  /** The most redriven letter; undefined when there is none. */
  readonly turn: number | undefined;
  /** Sequences that are on their way, oldest first, with the turn of their first copy. */
  readonly returning: readonly { readonly redrive: string; readonly turn: number }[];
  /** Letters and placeholders that stay there. */
  readonly left: number;
}

export type HeldKeys = ReadonlyMap<string, HeldKey>;

/** Of a sequence as `inSequence` gives it. */
export function encodePlaceholder(sequence: readonly Held[], redrive: string): Parcel {
  const [first, last] = [sequence[0], sequence.at(-1)] as [Held, Held];
  const stored: StoredLetter = { ...last.letter, turn: first.letter.turn + 1, returning: redrive };
  return {
    content: Buffer.from(JSON.stringify(stored)),
    options: { persistent: true, messageId: stored.id, contentType: 'application/json' },
  };
}

/**
 * What holds the keys, and which placeholders are of no use any more when the last copies of the redrives `arrived` are here. Those before an
 * arrived one have none coming: the partition keeps the order of the redrives, so their last copy was here before, and went to a version that did not know them.
 */
export function heldKeysOf(
  held: readonly Held[],
  arrived: ReadonlySet<string>,
): { readonly keys: HeldKeys; readonly served: readonly ConsumeMessage[] } {
  const keys = new Map<string, HeldKey>();
  const served: ConsumeMessage[] = [];
  for (const [key, some] of byKey(held)) {
    const placeholders = some.filter(({ letter }) => letter.returning !== undefined);
    const end = placeholders.findLastIndex(({ letter }) => arrived.has(letter.returning ?? ''));
    const gone = placeholders.slice(0, end + 1);
    for (const { amqp } of gone) served.push(amqp);
    const turns = some.flatMap(({ letter }) => (letter.returning === undefined ? [letter.turn] : []));
    keys.set(key, {
      turn: turns.length === 0 ? undefined : turns.reduce((a, b) => Math.max(a, b)),
      returning: placeholders.map(({ letter: { returning = '', turn } }) => ({ redrive: returning, turn })),
      left: some.length - gone.length,
    });
  }
  return { keys, served };
}

/**
 * In the order in which they go back: each sequence whole, at the place of its first letter. A message that failed again is behind what was parked meanwhile, though it
 * is older. It has been redriven more often: a redrive takes all letters of a key, and what it does not find is on its way with more turns. So more turns means older, and among
 * equals the queue is right.
 */
export function inSequence(chosen: readonly Held[]): readonly Held[] {
  const sequences = byKey(chosen);
  const told = new Set<string>();
  return chosen.flatMap((one) => {
    const { inLane, key } = one.letter;
    if (!inLane || key === undefined) return [one];
    if (told.has(key)) return [];
    told.add(key);
    return (sequences.get(key) ?? []).toSorted((a, b) => b.letter.turn - a.letter.turn);
  });
}

/** Those that hold a key, by it. */
export function byKey(held: readonly Held[]): Map<string, Held[]> {
  const keys = new Map<string, Held[]>();
  for (const one of held) {
    const { inLane, key } = one.letter;
    if (!inLane || key === undefined) continue;
    const some = keys.get(key);
    if (some) some.push(one);
    else keys.set(key, [one]);
  }
  return keys;
}
