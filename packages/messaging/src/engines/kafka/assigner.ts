/**
 * Who gets which partitions when a group changes: everyone an even share, and of what it had as much as fits into it, so that as few messages as
 * possible change hands while they are out. Each member tells what it has in the group's own protocol.
 */
import type { GroupPartitionsAssigner } from '@platformatic/kafka';

export const PROTOCOL = 'doorbuster-sticky';

export function encodeOwned(partitions: readonly number[]): Buffer {
  return Buffer.from(partitions.join(','));
}

function decodeOwned(metadata: Buffer | string | undefined | null): readonly number[] {
  const text = metadata?.toString() ?? '';
  return text === ''
    ? []
    : text
        .split(',')
        .map(Number)
        .filter((one) => Number.isInteger(one));
}

/** Partitions per member; `owned` is what each says it has. Members with a claim on the same partition: the first by name keeps it. */
export function share(
  owned: ReadonlyMap<string, readonly number[]>,
  partitions: number,
): ReadonlyMap<string, readonly number[]> {
  const members = [...owned.keys()].sort();
  const least = Math.floor(partitions / members.length);
  let larger = partitions % members.length;
  const free = new Set(Array.from({ length: partitions }, (_, index) => index));
  const shares = new Map<string, number[]>();
  // Those that have most choose first, so that the larger shares go where they need not be moved.
  const byOwned = members.toSorted((a, b) => (owned.get(b)?.length ?? 0) - (owned.get(a)?.length ?? 0));
  for (const member of byOwned) {
    const had = (owned.get(member) ?? []).filter((one) => free.has(one));
    const isLarger = larger > 0 && had.length > least;
    if (isLarger) larger -= 1;
    const kept = had.slice(0, least + (isLarger ? 1 : 0));
    for (const one of kept) free.delete(one);
    shares.set(member, kept);
  }
  for (const member of byOwned) {
    const mine = shares.get(member) ?? [];
    const wanted = least + (mine.length <= least && larger > 0 ? 1 : 0);
    if (wanted > least) larger -= 1;
    for (const one of free) {
      if (mine.length >= wanted) break;
      mine.push(one);
      free.delete(one);
    }
    mine.sort((a, b) => a - b);
  }
  return shares;
}

export const stickyAssigner: GroupPartitionsAssigner = (_leader, members, topics, metadata) => {
  const [topic = ''] = topics;
  const owned = new Map([...members].map(([id, member]) => [id, decodeOwned(member.metadata)]));
  const shares = share(owned, metadata.topics.get(topic)?.partitionsCount ?? 0);
  return [...shares].map(([memberId, partitions]) => ({
    memberId,
    assignments: new Map(partitions.length === 0 ? [] : [[topic, { topic, partitions: [...partitions] }]]),
  }));
};
