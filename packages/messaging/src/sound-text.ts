/**
 * What a text has to be to be told apart everywhere. A lone surrogate has no UTF-8: each client and each database writes another thing in its place, so that two
 * keys become one on one engine, stay two on the next and are refused by a third. Asked before anything is stored, for all engines alike.
 */

/** What is wrong with a text that has to be there, as the end of a sentence; undefined: nothing. */
export function faultOfText(value: unknown): string | undefined {
  if (typeof value !== 'string' || value === '') return 'is a text that is not empty';
  return faultOfForm(value);
}

/** The same for a text that may be empty. */
export function faultOfForm(value: unknown): string | undefined {
  if (typeof value !== 'string') return 'is a text';
  return value.isWellFormed() ? undefined : 'is a text without lone surrogates';
}
