/**
 * The safety net under the checks of the engine: an operation with a value that SQLite cannot bind or a column does not take. What it wrote before is undone with its
 * turn, and the turn is done again without it, so that it costs the others time and nothing else. Errors of the file (input and output, corruption, a failed sync) are
 * not of this kind: after them nothing is known, and nothing may be tried again.
 */
import { primaryCode } from './schema.ts';
import type { Operation, OperationResult } from './turn.ts';

const SQLITE_TOOBIG = 18;
const SQLITE_CONSTRAINT = 19;
const SQLITE_MISMATCH = 20;
const SQLITE_RANGE = 25;
const OF_A_VALUE: readonly (number | undefined)[] = [
  SQLITE_TOOBIG,
  SQLITE_CONSTRAINT,
  SQLITE_MISMATCH,
  SQLITE_RANGE,
];

/** Ends the try of a turn; `operation` is left out of the next one. */
export class UnfitOperation extends Error {
  readonly operation: Operation;

  constructor(operation: Operation, cause: Error) {
    super(`${operation.op} has a value that cannot be stored: ${cause.message}`, { cause });
    this.operation = operation;
  }
}

/** `node:sqlite` throws a TypeError or RangeError for what it cannot bind, and its own error with SQLite's code for what a column refuses. */
export function isUnfit(error: unknown): error is Error {
  if (error instanceof TypeError || error instanceof RangeError) return true;
  return OF_A_VALUE.includes(primaryCode(error));
}

export function refusalOf({ message }: UnfitOperation): OperationResult {
  return { error: { code: 'DB_MSG_INVALID_OPTIONS', message } };
}
