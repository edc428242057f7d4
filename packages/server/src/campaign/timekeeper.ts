/**
 * The timekeeper: has the authority open and close campaigns when they are due. It only knocks; the ledger decides by its own clock, so a knock that
 * comes early does nothing and is repeated.
 *
 * It knocks when the next change is due, and at least once a second, because a wall clock may be set while a timer runs.
 */
import type { CancelTimer, Clock } from '@doorbuster/messaging';
import type { CampaignLedger } from '../ledger.ts';

const LONGEST_WAIT_MS = 1_000;

export interface Timekeeper {
  stop(): Promise<void>;
}

/** `onError`: a knock failed (disk full, ledger closing); the next one follows in a second. */
export function startTimekeeper(
  campaigns: CampaignLedger,
  clock: Clock,
  onError: (error: unknown) => void,
): Timekeeper {
  let cancel: CancelTimer | null = null;
  let stopped = false;
  let knocking: Promise<void> = Promise.resolve();
  const arm = (waitMs: number): void => {
    if (!stopped) cancel = clock.setTimer(waitMs, () => void (knocking = knock()));
  };
  const knock = async (): Promise<void> => {
    cancel = null;
    let next: number | null = null;
    try {
      next = await campaigns.tick();
    } catch (error) {
      onError(error);
    }
    arm(next === null ? LONGEST_WAIT_MS : Math.min(LONGEST_WAIT_MS, Math.max(1, next - clock.now())));
  };
  knocking = knock();
  return {
    async stop() {
      stopped = true;
      cancel?.();
      await knocking;
    },
  };
}
