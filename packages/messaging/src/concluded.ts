/** What came of calling a handler: its outcomes where they are sound, and what was wrong where they are not. */
import { describeError } from './errors.ts';
import { type Outcome, soundOutcome } from './outcome.ts';

/** What became of one attempt. */
export type Concluded = Outcome | { readonly kind: 'threw'; readonly reason: string };

/** What a handler of one message returned; one that returned none would lose it. */
export function checkedOutcome(outcome: unknown): Concluded {
  try {
    return soundOutcome(outcome);
  } catch (error) {
    return { kind: 'threw', reason: describeError(error) };
  }
}

/** One outcome for each message, or a TypeError: a handler that forgot some would lose them. */
export function checkedOutcomes(outcomes: readonly unknown[], expected: number): readonly Concluded[] {
  const given = Array.isArray(outcomes) ? outcomes.length : 0;
  if (given !== expected)
    throw new TypeError(
      `the handler returned ${given} outcomes for ${expected} messages: return one for each, in the same order`,
    );
  return outcomes.map(checkedOutcome);
}
