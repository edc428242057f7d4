/**
 * Every operational error of the toolkit, in one catalogue: a stable code, whether trying again can help, and what
 * it means. Rejections (an `Outcome`, a `SettleResult`) are values and do not appear here; broken invariants are bugs.
 */
export const errorCatalogue = {
  DB_MSG_CHANNEL_CONTRADICTION: {
    retryable: false,
    meaning: 'A channel asks for things that exclude each other.',
  },
  DB_MSG_UNSUPPORTED_CAPABILITY: {
    retryable: false,
    meaning: 'The connected engine cannot do what a channel requires.',
  },
  DB_MSG_UNKNOWN_CHANNEL: {
    retryable: false,
    meaning: 'The channel or the subscription was never declared.',
  },
  DB_MSG_ALREADY_DECLARED: { retryable: false, meaning: 'Another channel or subscription has this name.' },
  DB_MSG_INVALID_OPTIONS: { retryable: false, meaning: 'An option is out of its bounds.' },
  DB_MSG_INVALID_DATA: {
    retryable: false,
    meaning: 'The data does not fit the contract of the channel; nothing was published.',
  },
  DB_MSG_MALFORMED: { retryable: false, meaning: 'What was received is not a CloudEvent.' },
  DB_MSG_MESSAGE_TOO_LARGE: {
    retryable: false,
    meaning: 'The encoded message is larger than the engine takes.',
  },
  DB_MSG_NOT_STARTED: { retryable: false, meaning: 'The bus has not been started.' },
  DB_MSG_STOPPED: { retryable: false, meaning: 'The bus, its engine or the locks have been stopped.' },
  DB_MSG_ENGINE_LOCKED: {
    retryable: false,
    meaning: 'Another process, or another engine of this one, holds the file or goes by the name.',
  },
  DB_MSG_ENGINE_UNSAFE: { retryable: false, meaning: 'The store cannot keep the promised durability.' },
  DB_MSG_DISK_FULL: { retryable: true, meaning: 'No room on the disk; nothing of the batch was stored.' },
  DB_MSG_ENGINE_UNREACHABLE: {
    retryable: true,
    meaning:
      'The server is out of reach or the connection broke. Whether it was done is unknown: do it again with the same ids.',
  },
  DB_MSG_ENGINE_FULL: {
    retryable: true,
    meaning: 'The server has no room (memory or disk) and refused; nothing of the batch was stored.',
  },
  DB_MSG_ENGINE_FAILED: {
    retryable: false,
    meaning: 'The store failed in a way after which its state is unknown; start again.',
  },
  DB_MSG_ENGINE_BLOCKED: {
    retryable: true,
    meaning: 'The broker takes no messages for now, for instance for want of memory or disk.',
  },
  DB_MSG_ENGINE_REFUSED: {
    retryable: false,
    meaning: 'The server refuses the credentials, or does not allow this; nothing was done.',
  },
  DB_MSG_UNROUTABLE: {
    retryable: true,
    meaning: 'No queue takes the message; nothing was stored.',
  },
  DB_MSG_STORE_BUSY: {
    retryable: true,
    meaning:
      'The database gave way to another transaction, or its connection is inside one of somebody else; nothing was stored. Do it again.',
  },
  DB_MSG_ROLLED_BACK: {
    retryable: true,
    meaning:
      'The work passed over a failed statement, with which the database had ended the transaction; nothing from before it was stored.',
  },
  DB_MSG_SUBSCRIPTION_BUSY: {
    retryable: true,
    meaning: 'The subscription has consumers; stop them before it is moved or forgotten.',
  },
  DB_MSG_PEER_MISSING: {
    retryable: false,
    meaning:
      'The client of this engine or store, or the Node it needs, is not there; the message says what to install.',
  },
  DB_MSG_REQUEST_TIMEOUT: {
    retryable: true,
    meaning: 'No reply came in time; the request may still be handled.',
  },
  DB_MSG_RATE_CAP_FULL: { retryable: true, meaning: 'Too many callers already wait for the rate cap.' },
  DB_MSG_BULKHEAD_FULL: { retryable: true, meaning: 'All places and the queue behind them are taken.' },
  DB_MSG_BREAKER_OPEN: { retryable: true, meaning: 'The circuit breaker is open; the call was not made.' },
  DB_MSG_LOCK_LOST: {
    retryable: true,
    meaning: 'The lock is held no longer; another may hold it with a higher fence. Stop what it protected.',
  },
  DB_MSG_SAGA_NOT_FOUND: { retryable: true, meaning: 'No instance of this saga has this key (yet).' },
  DB_MSG_SAGA_CHANGED: {
    retryable: true,
    meaning: 'The saga moved on meanwhile, or is not in a state that this can be done in; look again.',
  },
  DB_MSG_RECONCILIATION_BROKEN: {
    retryable: false,
    meaning:
      'A repair broke after it had published something again. The error has the report so far: go on from it, because from the start the same is published once more.',
  },
  DB_MSG_STREAM_CONFLICT: {
    retryable: true,
    meaning:
      'The stream is not at the expected version; nothing was appended. Read it again and decide anew.',
  },
  DB_MSG_STREAM_OVERTAKEN: {
    retryable: true,
    meaning:
      'A transaction that began later appended to the stream first; nothing was appended. Do the whole transaction again.',
  },
} as const satisfies Record<string, { readonly retryable: boolean; readonly meaning: string }>;

export type MessagingErrorCode = keyof typeof errorCatalogue;

export class MessagingError extends Error {
  override readonly name: string = 'MessagingError';
  readonly code: MessagingErrorCode;
  readonly retryable: boolean;
  /** How long to wait before trying again, where that is known. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: MessagingErrorCode,
    message: string,
    options: { cause?: unknown; retryAfterMs?: number } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = errorCatalogue[code].retryable;
    this.retryAfterMs = options.retryAfterMs;
  }
}

export interface UnmetRequirement {
  readonly channel: string;
  /** The capability asked for, for instance `delay`. */
  readonly feature: string;
  readonly asked: string;
  readonly available: string;
  readonly remedies: readonly string[];
}

/** Thrown by `bus.start()`: names the engine and, for every channel, what was asked, what there is and what to do. */
export class UnsupportedCapabilityError extends MessagingError {
  override readonly name = 'UnsupportedCapabilityError';
  readonly engine: string;
  readonly unmet: readonly UnmetRequirement[];

  constructor(engine: string, unmet: readonly UnmetRequirement[]) {
    const lines = unmet.map(
      (one) =>
        `channel "${one.channel}" requires ${one.feature} (${one.asked}); engine "${engine}" offers ${one.available}. ` +
        `Remedies: ${one.remedies.join('; or ')}.`,
    );
    super('DB_MSG_UNSUPPORTED_CAPABILITY', lines.join('\n'));
    this.engine = engine;
    this.unmet = unmet;
  }
}

/** What was thrown, in one line. Anything may be thrown, also what has no text or throws when asked for it. */
export function describeError(error: unknown): string {
  try {
    if (!(error instanceof Error)) return String(error);
    const cause = error.cause instanceof Error ? ` (cause: ${error.cause.message})` : '';
    return `${error.name}: ${error.message}${cause}`;
  } catch {
    return 'something was thrown that cannot be described';
  }
}
