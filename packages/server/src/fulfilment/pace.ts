/**
 * How many deliveries may begin now. Without a crowd as many as there are places. While a crowd is at the door a fixed number each turn, however
 * many wait: admission comes first, and whoever has won is still served during the crowd and not only after it.
 *
 *   no crowd --> any         crowd --> `burst` at the begin of each turn of `turnMs`, together, so that they share their transactions
 *
 * The numbers are floor and ceiling at once: 16 each 160 ms are 100 a second, more than most mail providers take. A mail costs 1.3 ms of a processor, 30
 * times an entry: at 400 a second mails took a quarter of two processors from the crowd. When the event loop is late, turns get longer and not fuller.
 */
import type { CancelTimer, Clock } from '@doorbuster/messaging';

export interface Pace {
  /** Takes one place of this turn; false: none is left, and `onTurn` will be called. */
  take(): boolean;
  stop(): void;
}

export interface PaceOptions {
  readonly clock: Clock;
  readonly crowd: { isHere(): boolean };
  /** Places may be there again after `take` was false. */
  readonly onTurn: () => void;
  /** Deliveries a turn while a crowd is here. Default 16. */
  readonly burst?: number;
  /** Default 160. */
  readonly turnMs?: number;
}

export function createPace({ clock, crowd, onTurn, burst = 16, turnMs = 160 }: PaceOptions): Pace {
  let left = 0;
  let endsAt = Number.NEGATIVE_INFINITY;
  let cancel: CancelTimer | null = null;
  const turnAt = (ms: number): void => {
    cancel ??= clock.setTimer(ms, () => {
      cancel = null;
      onTurn();
    });
  };
  return {
    take() {
      if (!crowd.isHere()) return true;
      const now = clock.monotonic();
      if (now >= endsAt) {
        endsAt = now + turnMs;
        left = burst;
      }
      if (left > 0) {
        left -= 1;
        return true;
      }
      turnAt(endsAt - now);
      return false;
    },
    stop() {
      cancel?.();
      cancel = null;
    },
  };
}
