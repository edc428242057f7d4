/**
 * How the CLI fails: what, why, what to do next, and a documented exit code. Commands throw `CliError` or OperationalError; `main.ts` prints it
 * once and sets the exit code. Anything else is a bug and keeps its stack.
 */
import { MessagingError, type MessagingErrorCode } from '@doorbuster/messaging';
import { catalogue, type ErrorCode, type Fault, OperationalError } from '../errors.ts';

/** 0 ok, 1 failed, 2 usage, 3 configuration, 4 unreachable, 5 partly failed, 6 gate failed. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  configuration: 3,
  unreachable: 4,
  partlyFailed: 5,
  gateFailed: 6,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** `level`: of a finding of the pre-flight; a warning refuses nothing. */
export interface CliFault extends Fault {
  readonly level?: string;
}

export class CliError extends Error {
  readonly exitCode: ExitCode;
  /** What the server said, for programs; CLI when it is the command line's own. */
  readonly code: string;
  readonly remedy: string;
  readonly faults: readonly CliFault[];
  constructor(
    exitCode: ExitCode,
    message: string,
    remedy: string,
    options: { code?: string; faults?: readonly CliFault[]; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.name = 'CliError';
    this.exitCode = exitCode;
    this.code = options.code ?? 'CLI';
    this.remedy = remedy;
    this.faults = options.faults ?? [];
  }
}

const exitOf: Partial<Record<ErrorCode, ExitCode>> = {
  CONFIG_INVALID: exitCodes.configuration,
  SECRETS_MISSING: exitCodes.configuration,
  LEDGER_UNSAFE: exitCodes.configuration,
  LEDGER_LOCKED: exitCodes.configuration,
  LEDGER_NEWER: exitCodes.configuration,
  PORT_BUSY: exitCodes.configuration,
  DEFINITION_INVALID: exitCodes.usage,
  LEDGER_HALTED: exitCodes.gateFailed,
  LEDGER_DAMAGED: exitCodes.gateFailed,
  BUS_MISSING: exitCodes.gateFailed,
};

export interface Failure {
  readonly error: string;
  readonly code: string;
  readonly remedy: string;
  readonly faults: readonly CliFault[];
  readonly exitCode: ExitCode;
}

/** What can stand against opening the bus; its other errors have no business here. */
const busRemedies: Partial<Record<MessagingErrorCode, string>> = {
  DB_MSG_ENGINE_LOCKED: 'Stop the other process, or use another --data directory.',
  DB_MSG_ENGINE_UNSAFE:
    'Look at the disk. When bus.sqlite is damaged, move it away with its -wal and -shm and start with --accept-lost-queue: deliveries are found again from the ledger; who was told "pending" and has no verdict yet must enter again.',
  DB_MSG_ENGINE_FAILED: 'Look at the disk, then start again.',
  DB_MSG_DISK_FULL: 'Free space on the data disk, then start again.',
};

/** One fault in a line: how grave, where, what. */
export function faultText({ level, pointer, message }: CliFault): string {
  return [level, pointer, message].filter(Boolean).join(': ');
}

/** Null for a bug: the caller rethrows it. */
export function failureOf(error: unknown): Failure | null {
  if (error instanceof CliError)
    return {
      error: error.message,
      code: error.code,
      remedy: error.remedy,
      faults: error.faults,
      exitCode: error.exitCode,
    };
  if (error instanceof OperationalError)
    return {
      error: error.message,
      code: error.code,
      remedy: catalogue[error.code].remedy,
      faults: error.faults,
      exitCode: exitOf[error.code] ?? exitCodes.failed,
    };
  const remedy = error instanceof MessagingError ? busRemedies[error.code] : undefined;
  if (error instanceof MessagingError && remedy !== undefined)
    return {
      error: `The bus cannot be opened: ${error.message}.`,
      code: error.code,
      remedy,
      faults: [],
      exitCode: exitCodes.configuration,
    };
  return null;
}
