/**
 * Options that are numbers, checked where they are given. One that is none (a setting that was not set, read with `Number`) compares as false with everything: it
 * would open a cap, never close a breaker or look without a pause, and nobody would be told.
 *
 * Not here: `delayMs`, `priority` and `expiresAt` of a publish (outgoing.ts), which are asked for every message and whose bounds are those of its channel;
 * the options of the command line (cli/filters.ts), which are text; and the counts of a stored state (attempts.ts), where a wrong one is no mistake of the caller.
 */
import { MessagingError } from './errors.ts';

export interface NumberRule {
  readonly from: number;
  /** Default: no bound. */
  readonly to?: number;
  /** `from` itself is not allowed. */
  readonly above?: true;
  readonly whole?: true;
  /** Infinity means something: no limit. */
  readonly endless?: true;
}

/** How many: at least one. */
export const COUNT: NumberRule = { from: 1, whole: true };
/** How often or how long, in ms, where nothing would mean all the time or not at all. */
export const SPAN_MS: NumberRule = { from: 0, above: true };
/** A wait in ms that may be none. */
export const WAIT_MS: NumberRule = { from: 0 };
/** A wait in ms that may be none, or have no end: for ever. */
export const ENDLESS_MS: NumberRule = { from: 0, endless: true };
/** A number that counts up, before which nothing is where it is 0: a version, the number of a row. */
export const ORDINAL: NumberRule = { from: 0, whole: true };
/** ms since the epoch. */
export const TIME: NumberRule = { from: -8.64e15, to: 8.64e15 };
/** How many at most, where none is an answer. */
export const LIMIT: NumberRule = { from: 0, whole: true, endless: true };
/** The time that a stop may take, ms. */
export const DRAIN_MS: NumberRule = ENDLESS_MS;

/** Throws DB_MSG_INVALID_OPTIONS. `what` begins the sentence: `a rate cap`. Options stand there with their defaults; one that is still missing is refused too. */
export function refuseBadNumbers<K extends string>(
  what: string,
  given: NoInfer<Readonly<Partial<Record<K, unknown>>>>,
  rules: Readonly<Record<K, NumberRule>>,
): void {
  for (const name of Object.keys(rules) as K[]) {
    const rule = rules[name];
    if (!fits(given[name], rule))
      throw new MessagingError(
        'DB_MSG_INVALID_OPTIONS',
        `${what}: ${name} is ${sentenceOf(rule)}, not ${String(given[name])}`,
      );
  }
}

/** The value, which is a whole number from `from` to `to`; both are allowed. Throws DB_MSG_INVALID_OPTIONS. `what` as in `refuseBadNumbers`. */
export function within(what: string, name: string, value: number, from: number, to: number): number {
  refuseBadNumbers(what, { [name]: value }, { [name]: { from, to, whole: true } });
  return value;
}

function fits(value: unknown, { from, to = Number.POSITIVE_INFINITY, above, whole, endless }: NumberRule) {
  if (value === Number.POSITIVE_INFINITY) return endless === true;
  if (typeof value !== 'number' || !Number.isFinite(value)) return false;
  if (whole && !Number.isSafeInteger(value)) return false;
  return (above ? value > from : value >= from) && value <= to;
}

function sentenceOf({ from, to, above, whole, endless }: NumberRule): string {
  const bounds = `${above ? 'above' : 'from'} ${from}${to === undefined ? '' : ` to ${to}`}`;
  return `a ${whole ? 'whole ' : ''}number ${bounds}${endless ? ', or Infinity' : ''}`;
}
