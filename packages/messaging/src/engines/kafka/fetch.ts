/**
 * One fetch from one node, of any partitions it leads, and the records in the answer. Only what is committed is read (a foreign producer may use
 * transactions): markers and what was aborted are left out, and so is what a batch holds before the offset that was asked for.
 */
import type { RecordsBatch } from '@platformatic/kafka';
import { faultOf } from './faults.ts';
import type { Link } from './link.ts';
import type { FetchAnswer, FetchedPartition } from './protocol.ts';
import type { RecordLike } from './wire.ts';

export interface Spot {
  readonly topic: string;
  readonly partition: number;
  /** The next one wanted. */
  readonly offset: number;
}

export interface LogRecord extends RecordLike {
  readonly offset: number;
  /** ms since the epoch, as the producer or the broker stamped it. */
  readonly timestamp: number;
}

export interface Fetched<S extends Spot> {
  readonly spot: S;
  readonly records: readonly LogRecord[];
  /** From where to read on. */
  readonly next: number;
  /** Readers see the log up to here, not including it. */
  readonly end: number;
  readonly start: number;
  readonly fault: 'none' | 'outOfRange' | 'stale';
}

export interface FetchLimits {
  readonly maxWaitMs: number;
  readonly maxBytes: number;
}

const PARTITION_BYTES = 1_048_576;
const READ_COMMITTED = 1;
/** No session: each request names all it wants. */
const NO_SESSION = [0, -1] as const;
const LAST_BY_NAME = 12;
const OUT_OF_RANGE = 1;
const IS_CONTROL = 1 << 5;
const IS_TRANSACTIONAL = 1 << 4;

interface RequestTopic {
  readonly topicId: string;
  readonly partitions: {
    readonly partition: number;
    readonly fetchOffset: bigint;
    readonly partitionMaxBytes: number;
    readonly currentLeaderEpoch: number;
    readonly lastFetchedEpoch: number;
  }[];
}

type Arguments = [number, number, number, number, number, number, RequestTopic[], never[], string];

export async function fetchFrom<S extends Spot>(
  link: Link,
  node: number,
  spots: readonly S[],
  { maxWaitMs, maxBytes }: FetchLimits,
): Promise<readonly Fetched<S>[]> {
  const topics = await link.topics([...new Set(spots.map(({ topic }) => topic))]);
  const { version, run } = await link.onNode<Arguments, FetchAnswer>('Fetch', node);
  const nameOf = (topic: string): string => (version <= LAST_BY_NAME ? topic : (topics.get(topic)?.id ?? ''));
  const wanted = new Map<string, RequestTopic>();
  const byPlace = new Map<string, S>();
  for (const spot of spots) {
    const topicId = nameOf(spot.topic);
    const topic = wanted.get(topicId) ?? { topicId, partitions: [] };
    wanted.set(topicId, topic);
    topic.partitions.push({
      partition: spot.partition,
      fetchOffset: BigInt(spot.offset),
      partitionMaxBytes: PARTITION_BYTES,
      currentLeaderEpoch: -1,
      lastFetchedEpoch: -1,
    });
    byPlace.set(`${topicId}/${spot.partition}`, spot);
  }
  const response = await answered(
    run(maxWaitMs, 1, maxBytes, READ_COMMITTED, ...NO_SESSION, [...wanted.values()], [], ''),
  );
  return response.responses.flatMap(({ topicId, partitions }) =>
    partitions.flatMap((partition) => {
      const spot = byPlace.get(`${topicId}/${partition.partitionIndex}`);
      return spot ? [readPartition(spot, partition)] : [];
    }),
  );
}

/** The client rejects when one partition has an error; the others' records are in its response all the same. */
async function answered(request: Promise<FetchAnswer>): Promise<FetchAnswer> {
  try {
    return await request;
  } catch (error) {
    const response = (error as { response?: FetchAnswer }).response;
    if (response?.responses && response.responses.length > 0) return response;
    throw faultOf(error, 'reading');
  }
}

function readPartition<S extends Spot>(spot: S, partition: FetchedPartition): Fetched<S> {
  const { errorCode, lastStableOffset, highWatermark, logStartOffset } = partition;
  const end = Number(lastStableOffset >= 0n ? lastStableOffset : highWatermark);
  const start = Number(logStartOffset);
  if (errorCode !== 0) {
    const fault = errorCode === OUT_OF_RANGE ? 'outOfRange' : 'stale';
    return { spot, records: [], next: spot.offset, end, start, fault };
  }
  const { records, next } = readBatches(
    partition.records ?? [],
    partition.abortedTransactions ?? [],
    spot.offset,
  );
  return { spot, records, next, end, start, fault: 'none' };
}

function readBatches(
  batches: readonly RecordsBatch[],
  aborted: readonly { readonly producerId: bigint; readonly firstOffset: bigint }[],
  from: number,
): { readonly records: readonly LogRecord[]; readonly next: number } {
  const records: LogRecord[] = [];
  const open = new Set<bigint>();
  const coming = aborted.toSorted((a, b) => Number(a.firstOffset - b.firstOffset));
  let next = from;
  for (const batch of batches) {
    const first = Number(batch.firstOffset);
    next = Math.max(next, first + batch.lastOffsetDelta + 1);
    while (coming[0] && coming[0].firstOffset <= batch.firstOffset + BigInt(batch.lastOffsetDelta))
      open.add((coming.shift() as { producerId: bigint }).producerId);
    if (batch.attributes & IS_CONTROL) {
      open.delete(batch.producerId);
      continue;
    }
    if (batch.attributes & IS_TRANSACTIONAL && open.has(batch.producerId)) continue;
    const since = Number(batch.firstTimestamp);
    for (const { offsetDelta, timestampDelta, key, value, headers } of batch.records) {
      const offset = first + offsetDelta;
      if (offset >= from)
        records.push({ offset, timestamp: since + Number(timestampDelta), key, value, headers });
    }
  }
  return { records, next };
}
