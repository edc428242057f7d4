/** What a consumer and its scripts say to each other: replies as they come, and arguments as they go. */
import type { Letter, Settlement } from '../../engine.ts';
import type { Lent } from './incoming.ts';

export type ClaimReply = readonly [
  given: Lent,
  ended: readonly (readonly [consumer: string, token: string])[],
  untilNext: number,
  drained: number,
  broken: number,
  bells: readonly (readonly [stream: string, id: string])[],
  plain: number,
  generation: string,
  routing: string,
  bindings: string,
  endings: string,
  read: readonly (readonly [shard: number, entries: readonly string[]])[],
  leaving: number,
];

/** What the script of the claim calls them. */
export const PLAIN = 1;
export const SHARDED = 2;

/** Null: all were settled in time. */
export type AcknowledgeReply = readonly [endings: string, lost: readonly number[]] | null;

export function letterArguments(letter: Letter): readonly (string | number)[] {
  const { id, reason, group, at, history, stateOnRedrive } = letter;
  return [id, reason, group, at, JSON.stringify(history), stateOnRedrive];
}

/** Of what this consumer read itself: scripts lend under texts. */
export function isReadAck({ kind, token }: Settlement): boolean {
  return kind === 'ack' && typeof token === 'number';
}

export const namesOf = (read: ClaimReply[11]): readonly string[] =>
  read.flatMap(([shard, entries]) => entries.flatMap((id, at) => (at % 3 === 0 ? [`${shard}:${id}`] : [])));

/** As `acknowledge` gets what was read: of each stream how many ids, and the ids. `places`: of each in this order the place among the names, unless it is the same. */
export function byStream(
  names: readonly string[],
  stream: string,
  isSharded: boolean,
): {
  readonly streams: readonly string[];
  readonly counted: readonly string[];
  readonly places: readonly number[] | undefined;
} {
  if (!isSharded) return { streams: [stream], counted: [String(names.length), ...names], places: undefined };
  const byShard = Map.groupBy(names.keys(), (place) => {
    const name = names[place] as string;
    return name.slice(0, Math.max(0, name.indexOf(':')));
  });
  const shards = [...byShard.keys()];
  return {
    streams: shards.map((shard) => (shard === '' ? stream : `${stream}:${shard}`)),
    places: [...byShard.values()].flat(),
    counted: [...byShard.values()].flatMap((places) => [
      String(places.length),
      ...places.map((place) => (names[place] as string).slice((names[place] as string).indexOf(':') + 1)),
    ]),
  };
}
