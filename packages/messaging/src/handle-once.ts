/**
 * Effectively once, as a function around the work of a handler: it opens the transaction, notes the message in it, lets the handler work in it, and commits.
 * A message that comes again changes nothing and is acknowledged. `stores/` has an `InboxStore` for SQLite, PostgreSQL and MariaDB.
 *
 * Once is what the transaction holds: rows of that database. A mail that the work sends, or a row of another database, can still happen
 * twice (the commit may fail after it); write it to an outbox in the same transaction instead.
 */
import { MessagingError } from './errors.ts';
import { ack, type Outcome } from './outcome.ts';
import { faultOfText } from './sound-text.ts';

export interface InboxEntry {
  readonly subscription: string;
  readonly messageId: string;
  /** ms since the epoch. */
  readonly now: number;
}

/** `Tx` is what the work runs its own statements with: the client of the open transaction. */
export interface InboxStore<Tx> {
  /** Commits when `work` resolves, rolls back when it rejects, and then rejects with the same error; with DB_MSG_STORE_BUSY where the database gave way, whoever ran the statement. */
  transaction<T>(work: (tx: Tx) => Promise<T>): Promise<T>;
  /**
   * True when this subscription has handled the message: then change nothing. False the first time, and the id is noted in this transaction. While another
   * transaction that noted the same id has not ended, it waits for it. Rejects with DB_MSG_INVALID_OPTIONS outside of a transaction, and
   * for an id or a subscription with U+0000 or lone surrogates.
   */
  alreadyHandled(tx: Tx, entry: InboxEntry): Promise<boolean>;
}

export interface HandleOnceOptions<Tx> {
  readonly inbox: InboxStore<Tx>;
  readonly subscription: string;
  readonly message: { readonly id: string };
  readonly clock: { now(): number };
  /** Its changes go through `tx`. Nothing returned is `ack()`; any other outcome than an ack rolls everything back and is handed on. */
  readonly work: (tx: Tx) => Promise<Outcome | undefined> | Promise<void>;
}

/**
 * For `handler: (message) => handleOnce({ ... })`. Rejects with what the work or the database rejected with; the bus then tries again. With
 * DB_MSG_INVALID_OPTIONS for an id or a subscription that not every database can note.
 */
export async function handleOnce<Tx>(options: HandleOnceOptions<Tx>): Promise<Outcome> {
  const { inbox, subscription, message, clock, work } = options;
  for (const [name, value] of Object.entries({ subscription, 'the id of the message': message.id })) {
    const fault = faultOfText(value);
    if (fault !== undefined)
      throw new MessagingError('DB_MSG_INVALID_OPTIONS', `handleOnce: ${name} ${fault}`);
  }
  try {
    return await inbox.transaction(async (tx) => {
      if (await inbox.alreadyHandled(tx, { subscription, messageId: message.id, now: clock.now() }))
        return ack();
      const outcome = (await work(tx)) ?? ack();
      if (outcome.kind !== 'ack') throw new NotHandled(outcome);
      return outcome;
    });
  } catch (error) {
    if (error instanceof NotHandled) return error.outcome;
    throw error;
  }
}

/** Carries an outcome out of a transaction that must not commit. */
class NotHandled extends Error {
  readonly outcome: Outcome;

  constructor(outcome: Outcome) {
    super(`the handler answered ${outcome.kind}`);
    this.outcome = outcome;
  }
}
