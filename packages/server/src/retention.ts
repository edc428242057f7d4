/** Retention: once an hour, what names or reaches the members of long closed campaigns is erased, in slices that leave room for admission. */
import type { Clock } from '@doorbuster/messaging';
import type { EvidenceLedger } from './ledger.ts';
import { type PeriodicJob, startPeriodic } from './periodic.ts';

const everyMs = 3_600_000;
const dayMs = 86_400_000;

/** Members erased in one transaction: some 10 ms of the writer. */
const membersASlice = 500;

export interface RetentionOptions {
  readonly evidence: Pick<EvidenceLedger, 'expire'>;
  readonly clock: Clock;
  /** A campaign that closed longer ago than this is erased (days). */
  readonly retentionDays: number;
  readonly onError: (error: unknown) => void;
}

/** Goes on until nothing is left or it is stopped: what is left then is for the next start. */
export function startRetention({ evidence, clock, retentionDays, onError }: RetentionOptions): PeriodicJob {
  return startPeriodic(
    clock,
    everyMs,
    async (stopping) => {
      const closedBefore = clock.now() - retentionDays * dayMs;
      while (!stopping.aborted && (await evidence.expire(closedBefore, membersASlice)) > 0);
    },
    onError,
  );
}
