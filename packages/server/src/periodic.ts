/** Background jobs at intervals: one run at a time each, started on the Clock, awaited at the stop. */
import type { CancelTimer, Clock } from '@doorbuster/messaging';

export interface PeriodicJob {
  stop(): Promise<void>;
}

/** Waits `everyMs` after the end of each run. A failing run is told to `onError` and the next one comes as ever. */
export function startPeriodic(
  clock: Clock,
  everyMs: number,
  run: () => Promise<void>,
  onError: (error: unknown) => void,
): PeriodicJob {
  let cancel: CancelTimer | null = null;
  let stopped = false;
  let running: Promise<void> = Promise.resolve();
  const arm = (): void => {
    if (!stopped)
      cancel = clock.setTimer(everyMs, () => {
        cancel = null;
        running = run().catch(onError).then(arm);
      });
  };
  arm();
  return {
    async stop() {
      stopped = true;
      cancel?.();
      await running;
    },
  };
}
