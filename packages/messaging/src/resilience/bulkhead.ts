/**
 * A bulkhead: at most `concurrency` calls run at once, at most `queue` wait behind them in order, and the rest are
 * refused at once. It keeps one slow provider from holding every worker of the process.
 */
import { MessagingError } from '../errors.ts';
import { COUNT, LIMIT, refuseBadNumbers } from '../sound-numbers.ts';

export interface BulkheadOptions {
  /** Calls that run at the same time; at least 1. */
  readonly concurrency: number;
  /** Calls that may wait. Default 0: refuse at once. `Infinity`: no limit. */
  readonly queue?: number;
}

export interface Bulkhead {
  /**
   * Runs `fn` when a place is free. Rejects without calling it: with DB_MSG_BULKHEAD_FULL when place and queue are taken, with the signal's reason when that
   * aborts before the place is free.
   */
  run<T>(fn: () => Promise<T> | T, signal?: AbortSignal): Promise<T>;
  view(): { readonly running: number; readonly waiting: number; readonly refused: number };
}

const RULES = { concurrency: COUNT, queue: LIMIT } as const;

/** Throws DB_MSG_INVALID_OPTIONS for what is no whole number or out of its bounds. */
export function createBulkhead(options: BulkheadOptions): Bulkhead {
  const { concurrency, queue = 0 } = options;
  refuseBadNumbers('a bulkhead', { concurrency, queue }, RULES);
  const waiting: (() => void)[] = [];
  let running = 0;
  let refused = 0;

  const leave = (): void => {
    // The place is handed to the first waiter without becoming free in between, or a newcomer could overtake it.
    const first = waiting.shift();
    if (first) first();
    else running -= 1;
  };

  return {
    async run(fn, signal) {
      signal?.throwIfAborted();
      if (running < concurrency) running += 1;
      else if (waiting.length < queue) await turnIn(waiting, signal);
      else {
        refused += 1;
        throw new MessagingError('DB_MSG_BULKHEAD_FULL', `${running} calls run and ${waiting.length} wait`);
      }
      try {
        return await fn();
      } finally {
        leave();
      }
    },
    view: () => ({ running, waiting: waiting.length, refused }),
  };
}

/** Resolves when the place was handed over; one that gives up leaves the queue, so that no place is handed to it. */
function turnIn(waiting: (() => void)[], signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const take = (): void => {
      signal?.removeEventListener('abort', giveUp);
      resolve();
    };
    const giveUp = (): void => {
      waiting.splice(waiting.indexOf(take), 1);
      reject(signal?.reason as Error);
    };
    waiting.push(take);
    signal?.addEventListener('abort', giveUp, { once: true });
  });
}
