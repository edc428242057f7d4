/**
 * One fetch from one node, of any partitions it leads, and the records in the answer. Only what is committed is read (a foreign producer may use
 * transactions): markers and what was aborted are left out, and so is what a batch holds before the offset that was asked for.
 */
import { faultOf } from './faults.ts';
import {
  type FetchAnswer,
  fetchApi,
  type FetchArguments,
  type FetchedPartition,
  type FetchTopic,
} from './fetch-answer.ts';
import type { Link } from './link.ts';
import type { LogRecord, RecordBatch } from './log-record.ts';

export interface Spot {
  readonly topic: string;
  readonly partition: number;
  /** The next one wanted. */
  readonly offset: number;
}

export interface Fetched<S extends Spot> {
  readonly spot: S;
  /** What is committed; the first of them may hold records before the place that was asked for. */
  readonly batches: readonly RecordBatch[];
  /** From that place on, made anew at each look. */
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
const OUT_OF_RANGE = 1;
const IS_CONTROL = 1 << 5;
const IS_TRANSACTIONAL = 1 << 4;

export async function fetchFrom<S extends Spot>(
  link: Link,
  node: number,
  spots: readonly S[],
  { maxWaitMs, maxBytes }: FetchLimits,
): Promise<readonly Fetched<S>[]> {
  const topics = await link.topics([...new Set(spots.map(({ topic }) => topic))]);
  const { run } = await link.onNode<FetchArguments, FetchAnswer>('Fetch', node, fetchApi);
  const wanted = new Map<string, FetchTopic>();
  const byPlace = new Map<string, S>();
  for (const spot of spots) {
    const topicId = topics.get(spot.topic)?.id ?? '';
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
  const answer = await answered(
    run(maxWaitMs, 1, maxBytes, READ_COMMITTED, ...NO_SESSION, [...wanted.values()], [], ''),
  );
  return answer.topics.flatMap(({ topicId, partitions }) =>
    partitions.flatMap((one) => {
      const spot = byPlace.get(`${topicId}/${one.partition}`);
      return spot ? [readPartition(spot, one)] : [];
    }),
  );
}

async function answered(request: Promise<FetchAnswer>): Promise<FetchAnswer> {
  try {
    return await request;
  } catch (error) {
    throw faultOf(error, 'reading');
  }
}

function readPartition<S extends Spot>(spot: S, partition: FetchedPartition): Fetched<S> {
  const { errorCode, lastStableOffset, highWatermark, logStartOffset: start } = partition;
  const end = lastStableOffset >= 0 ? lastStableOffset : highWatermark;
  if (errorCode !== 0) {
    const fault = errorCode === OUT_OF_RANGE ? 'outOfRange' : 'stale';
    return { spot, batches: [], records: [], next: spot.offset, end, start, fault };
  }
  const from = spot.offset;
  const { batches, next } = committed(partition, from);
  return {
    spot,
    batches,
    get records() {
      return batches.flatMap(({ records }) => records.filter(({ offset }) => offset >= from));
    },
    next,
    end,
    start,
    fault: 'none',
  };
}

function committed(
  { batches, aborted }: FetchedPartition,
  from: number,
): { readonly batches: readonly RecordBatch[]; readonly next: number } {
  const taken: RecordBatch[] = [];
  const open = new Set<bigint>();
  const coming = aborted.toSorted((a, b) => a.firstOffset - b.firstOffset);
  let next = from;
  for (const batch of batches) {
    next = Math.max(next, batch.lastOffset + 1);
    while (coming[0] && coming[0].firstOffset <= batch.lastOffset)
      open.add((coming.shift() as { producerId: bigint }).producerId);
    if (batch.attributes & IS_CONTROL) open.delete(batch.producerId);
    else if (!isAborted(batch, open)) taken.push(batch);
  }
  return { batches: taken, next };
}

function isAborted({ attributes, producerId }: RecordBatch, open: ReadonlySet<bigint>): boolean {
  return (attributes & IS_TRANSACTIONAL) !== 0 && open.has(producerId);
}
