/** Background jobs at intervals: one run at a time each, started on the Clock, awaited at the stop. */
import type { CancelTimer, Clock } from '@doorbuster/messaging';

export interface PeriodicJob {
  /** Lets a run that is under way end; a long one is told by its signal. */
  stop(): Promise<void>;
}

/** Waits `everyMs` after the end of each run. A failing run is told to `onError` and the next one comes as ever. */
export function startPeriodic(
  clock: Clock,
  everyMs: number,
  run: (stopping: AbortSignal) => Promise<void>,
  onError: (error: unknown) => void,
): PeriodicJob {
  let cancel: CancelTimer | null = null;
  const stopping = new AbortController();
  let running: Promise<void> = Promise.resolve();
  const arm = (): void => {
    if (!stopping.signal.aborted)
      cancel = clock.setTimer(everyMs, () => {
        cancel = null;
        running = run(stopping.signal).catch(onError).then(arm);
      });
  };
  arm();
  return {
    async stop() {
      stopping.abort();
      cancel?.();
      await running;
    },
  };
}
