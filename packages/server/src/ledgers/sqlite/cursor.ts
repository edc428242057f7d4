/** Opaque cursors: the numbers of the last row of a page, in base64url. */

export function cursorOf(...numbers: readonly number[]): string {
  return Buffer.from(numbers.join('.')).toString('base64url');
}

/** The numbers; undefined for no cursor or one that is not ours (the page then begins at the start). */
export function readCursor(cursor: string | undefined, count: number): readonly number[] | undefined {
  if (cursor === undefined) return undefined;
  const numbers = Buffer.from(cursor, 'base64url').toString('latin1').split('.').map(Number);
  return numbers.length === count && numbers.every(Number.isSafeInteger) ? numbers : undefined;
}
