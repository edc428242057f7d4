/**
 * What a handler says about a message: a closed set of values, never an exception. Whoever writes TypeScript makes them with the functions below; what comes from
 * elsewhere is made sound before anything is stored.
 */
import { describeError, MessagingError } from './errors.ts';

export type Outcome =
  | { readonly kind: 'ack'; readonly reply?: unknown }
  | { readonly kind: 'retry'; readonly reason: string; readonly delayMs?: number }
  | { readonly kind: 'snooze'; readonly delayMs: number }
  | { readonly kind: 'deadLetter'; readonly reason: string };

/** Whether a handler answered at once; an async one, or one of a library with promises of its own, did not. */
export function isPromise<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as { readonly then?: unknown } | undefined)?.then === 'function';
}

/** A century: more is a mistake in the unit. */
const LONGEST_DELAY_MS = 100 * 365 * 86_400_000;

/** A whole number of ms, so that no store has to round. It throws inside the handler, so the message then fails like any other. */
function waitOf(delayMs: number): number {
  if (delayMs >= 0 && delayMs <= LONGEST_DELAY_MS) return Math.ceil(delayMs);
  throw new MessagingError('DB_MSG_INVALID_OPTIONS', `delayMs is 0 to ${LONGEST_DELAY_MS}, not ${delayMs}`);
}

const ACK: Outcome = Object.freeze({ kind: 'ack' });

/** Handled: the message is settled for this subscription. */
export function ack(): Outcome {
  return ACK;
}

/**
 * Handled, and `data` goes back to whoever asked with `bus.request`. Without an asker it is `ack()`. Throws DB_MSG_INVALID_OPTIONS, inside the handler, for what
 * JSON has no word for (`undefined`, a function): nothing would go back, and the asker would wait until its time is over. Nothing to say is `reply(null)`.
 */
export function reply(data: unknown): Outcome {
  if (data === undefined || typeof data === 'function' || typeof data === 'symbol')
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      `a reply cannot be ${data === undefined ? 'undefined' : `a ${typeof data}`}: answer reply(null) where there is nothing to say`,
    );
  return { kind: 'ack', reply: data };
}

/** Failed; try again. Counts as an attempt. Without `delayMs` the subscription's retry policy decides when. */
export function retry(options: { readonly delayMs?: number; readonly reason?: string } = {}): Outcome {
  const reason = options.reason ?? 'the handler asked for a retry';
  return options.delayMs === undefined
    ? { kind: 'retry', reason }
    : { kind: 'retry', reason, delayMs: waitOf(options.delayMs) };
}

/** Not yet: bring it again after `delayMs`. Not a failure and not an attempt. */
export function snooze(delayMs: number): Outcome {
  return { kind: 'snooze', delayMs: waitOf(delayMs) };
}

/**
 * The outcome that a handler returned, made sound: written by hand, or from JavaScript, it may be anything, and a store that is asked for an impossible time
 * fails with everything else it was asked for. Throws a TypeError for what is no outcome: the message then fails like any other.
 */
export function soundOutcome(returned: unknown): Outcome {
  if (returned === ACK) return ACK;
  const outcome = returned as
    | Partial<Record<'kind' | 'reason' | 'delayMs' | 'reply', unknown>>
    | undefined
    | null;
  switch (outcome?.kind) {
    case 'ack':
      return outcome.reply === undefined ? ACK : reply(outcome.reply);
    case 'retry': {
      const reason = textOf(outcome.reason);
      if (outcome.delayMs === undefined) return { kind: 'retry', reason };
      return { kind: 'retry', reason, delayMs: waitOf(outcome.delayMs as number) };
    }
    case 'snooze':
      return { kind: 'snooze', delayMs: waitOf(outcome.delayMs as number) };
    case 'deadLetter':
      return { kind: 'deadLetter', reason: textOf(outcome.reason) };
    default:
      throw new TypeError(
        'the handler returned no outcome: it has to return ack(), retry(), snooze(), deadLetter() or reply()',
      );
  }
}

function textOf(reason: unknown): string {
  if (typeof reason === 'string') return reason;
  return reason === undefined || reason === null ? 'the handler gave no reason' : describeError(reason);
}

/** Will never work: park it for a person at once, with the reason. */
export function deadLetter(reason: string): Outcome {
  return { kind: 'deadLetter', reason };
}
