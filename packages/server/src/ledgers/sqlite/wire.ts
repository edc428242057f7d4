/** Errors between threads: the structured clone keeps neither class nor code, so both travel as fields. */
import { catalogue, type ErrorCode, OperationalError } from '../../errors.ts';
import { FatalLedgerError } from './group-commit.ts';

export interface WireError {
  readonly code: ErrorCode | null;
  readonly fatal: boolean;
  readonly message: string;
  readonly stack: string | undefined;
  readonly retryAfterMs: number | null;
}

export function toWire(error: unknown): WireError {
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  const cause =
    error instanceof FatalLedgerError && error.cause instanceof Error ? `: ${error.cause.message}` : '';
  const operational = error instanceof OperationalError ? error : null;
  return {
    code: operational?.code ?? null,
    fatal: error instanceof FatalLedgerError,
    message: message + cause,
    stack,
    retryAfterMs: operational?.retryAfterMs ?? null,
  };
}

export function fromWire({ code, fatal, message, stack, retryAfterMs }: WireError): Error {
  if (code !== null) {
    const detail = message.slice(catalogue[code].message.length + 1);
    return new OperationalError(code, {
      ...(detail === '' ? {} : { detail }),
      ...(retryAfterMs === null ? {} : { retryAfterMs }),
    });
  }
  const error = fatal ? new FatalLedgerError(message) : new Error(message);
  if (stack !== undefined) error.stack = stack;
  return error;
}
