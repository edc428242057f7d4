/**
 * A bulkhead: at most `concurrency` calls run at once, at most `queue` wait behind them in order, and the rest are
 * refused at once. It keeps one slow provider from holding every worker of the process.
 */
import { MessagingError } from '../errors.ts';

export interface BulkheadOptions {
  /** Calls that run at the same time; at least 1. */
  readonly concurrency: number;
  /** Calls that may wait. Default 0: refuse at once. */
  readonly queue?: number;
}

export interface Bulkhead {
  /** Runs `fn` when a place is free. Rejects with DB_MSG_BULKHEAD_FULL when place and queue are taken, without calling it. */
  run<T>(fn: () => Promise<T> | T): Promise<T>;
  view(): { readonly running: number; readonly waiting: number; readonly refused: number };
}

export function createBulkhead(options: BulkheadOptions): Bulkhead {
  const { concurrency, queue = 0 } = options;
  if (!(concurrency >= 1) || !(queue >= 0)) {
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', 'a bulkhead needs concurrency >= 1 and queue >= 0');
  }
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
    async run(fn) {
      if (running < concurrency) running += 1;
      else if (waiting.length < queue) await new Promise<void>((resolve) => waiting.push(resolve));
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
