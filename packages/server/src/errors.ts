/**
 * The catalogue of operational errors: what can go wrong around correct code. Rejections are values (see the ports); bugs are plain Errors and
 * end the process. HTTP status and CLI exit code are mapped in `http/` and `cli/` only. The reference page of the docs is generated from this table.
 */

/** What it means, and what to do about it. `retryable`: nothing was decided, the same may succeed later. */
export const catalogue = {
  LEDGER_BUSY: {
    retryable: true,
    message: 'The ledger is busy; nothing was decided.',
    remedy: 'Retry after the given time.',
  },
  LEDGER_FULL: {
    retryable: true,
    message: 'The disk of the ledger is full; nothing was decided.',
    remedy: 'Free space on the data disk; admission goes on by itself.',
  },
  LEDGER_CLOSED: {
    retryable: true,
    message: 'The ledger is closed; the process is stopping.',
    remedy: 'Retry; another process or the restarted one answers.',
  },
  LEDGER_HALTED: {
    retryable: false,
    message: 'The lane is halted: the ledger shows less than was acknowledged.',
    remedy: 'Run `doorbuster verify`, then restore the newest data directory.',
  },
  LEDGER_LOCKED: {
    retryable: false,
    message: 'Another process holds this data directory.',
    remedy: 'Stop the other process, or use another --data directory.',
  },
  LEDGER_UNSAFE: {
    retryable: false,
    message: 'The ledger cannot promise durability here.',
    remedy: 'Put the data directory on a local disk that is writable and syncs.',
  },
  LEDGER_DAMAGED: {
    retryable: false,
    message: 'The ledger file is damaged.',
    remedy: 'Run `doorbuster verify`, then restore a backup.',
  },
  LEDGER_NEWER: {
    retryable: false,
    message: 'The ledger was written by a newer version.',
    remedy: 'Start the newer version, or restore a backup of this one.',
  },
  BUS_MISSING: {
    retryable: false,
    message: 'The queue of this data directory is gone.',
    remedy:
      'Put bus.sqlite back with its -wal and -shm. Where that is impossible: `doorbuster serve --accept-lost-queue`; who was told "pending" and has no verdict must enter again.',
  },
  CAMPAIGN_UNKNOWN: {
    retryable: false,
    message: 'There is no campaign of this id.',
    remedy: 'List the campaigns; check the id.',
  },
  ADMISSION_FULL: {
    retryable: true,
    message: 'Too many entries are waiting; nothing was decided.',
    remedy: 'Retry after the given time with the same member.',
  },
  RATE_LIMITED: { retryable: true, message: 'Too many requests.', remedy: 'Retry after the given time.' },
  TOKEN_INVALID: {
    retryable: false,
    message: 'The token is not valid.',
    remedy: 'Ask the shop for a new token.',
  },
  CONFIG_INVALID: {
    retryable: false,
    message: 'The configuration has faults.',
    remedy: 'Mend every line listed.',
  },
  SECRETS_MISSING: {
    retryable: false,
    message: 'The secrets file does not fit this data directory.',
    remedy: 'Put back the secrets file that belongs to it.',
  },
  PORT_BUSY: {
    retryable: false,
    message: 'The port is taken.',
    remedy: 'Choose another with --port, or stop the process that has it.',
  },
  DEFINITION_INVALID: {
    retryable: false,
    message: 'The campaign definition has faults.',
    remedy: 'Mend every line listed.',
  },
} as const satisfies Record<string, { retryable: boolean; message: string; remedy: string }>;

export type ErrorCode = keyof typeof catalogue;

/** One fault of several, found together. `pointer` says where. */
export interface Fault {
  readonly pointer: string;
  readonly message: string;
}

export class OperationalError extends Error {
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly faults: readonly Fault[];
  /** For retryable ones: when to come back, in ms, before jitter. */
  readonly retryAfterMs: number | null;

  constructor(
    code: ErrorCode,
    options: { detail?: string; cause?: unknown; faults?: readonly Fault[]; retryAfterMs?: number } = {},
  ) {
    super(options.detail ? `${catalogue[code].message} ${options.detail}` : catalogue[code].message, {
      cause: options.cause,
    });
    this.name = 'OperationalError';
    this.code = code;
    this.retryable = catalogue[code].retryable;
    this.faults = options.faults ?? [];
    this.retryAfterMs = options.retryAfterMs ?? null;
  }
}
