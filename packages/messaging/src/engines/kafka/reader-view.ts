/** What a reader shows of itself to people. */
import { type Partition, sentAt } from './partition.ts';

export interface ReaderView {
  readonly inFlight: number;
  readonly waitingForKey: number;
  readonly delayed: number;
  readonly oldestAt: number | undefined;
  /** Partitions whose numbers these are. */
  readonly partitions: readonly Partition[];
}

export function viewOf(partitions: readonly Partition[]): ReaderView {
  let inFlight = 0;
  let waitingForKey = 0;
  let delayed = 0;
  let oldestAt = Number.POSITIVE_INFINITY;
  for (const { lanes, sources } of partitions) {
    waitingForKey += lanes.waitingCount();
    for (const { ledger, entries, unread } of sources) {
      inFlight += ledger.outCount;
      for (const entry of entries) {
        if (entry.stage === 'waiting') delayed += 1;
        oldestAt = Math.min(oldestAt, sentAt(entry));
      }
      oldestAt = Math.min(oldestAt, unread.since ?? oldestAt);
    }
  }
  const since = oldestAt === Number.POSITIVE_INFINITY ? undefined : oldestAt;
  return { inFlight, waitingForKey, delayed, oldestAt: since, partitions };
}
