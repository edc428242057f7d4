/**
 * The closed set of answers to an entry, in declared precedence. `admit` walks the checks in this order and the first
 * that applies decides; a known member is looked up before any of them, so nobody who is in ever loses the first answer.
 */

/**
 * Precedence of the checks for a member who is not yet known. `won` and `waitlisted` are entries; the others are refusals, which
 * store nothing and may change on a retry. `pending` is answered by the queued intake only and never by `admit`.
 */
export const verdicts = [
  'not-open',
  'closed',
  'sold-out',
  'paused',
  'ineligible',
  'won',
  'waitlisted',
  'pending',
] as const;

export type Verdict = (typeof verdicts)[number];
export type EntryVerdict = 'won' | 'waitlisted';
export type RefusalVerdict = Exclude<Verdict, EntryVerdict | 'pending'>;
