/**
 * The ledger's outbox: messages that tell of a change, written in its transaction. Numbers only: no phone number, no voucher code. A transaction
 * rings once for all deliveries of a campaign: a row for each would be most of what is written, relayed and read while everybody wins.
 */
import {
  appendToOutbox,
  type Clock,
  createIds,
  createOutboxWriter,
  type OutboxRow,
  sqliteOutbox,
} from '@doorbuster/messaging';
import { deliveryRequested, doorbellsFor } from '../../messages.ts';
import type { Randomness } from '../../randomness.ts';
import type { Sql } from './sql.ts';
import type { Rung } from './transaction.ts';

const source = 'doorbuster/ledger';

export class OutboxRows {
  readonly #sql: Sql;
  readonly #write: ReturnType<typeof createOutboxWriter>;
  readonly #table: ReturnType<typeof sqliteOutbox>;

  constructor(sql: Sql, clock: Clock, randomness: Randomness) {
    this.#sql = sql;
    const fill = (bytes: Uint8Array): Uint8Array => {
      bytes.set(randomness.bytes(bytes.length));
      return bytes;
    };
    this.#write = createOutboxWriter({ clock, ids: createIds(clock, { fill }), source });
    this.#table = sqliteOutbox(sql.db);
  }

  /** Inside the transaction in which these deliveries became due. */
  ringFor(rung: readonly Rung[]): void {
    if (rung.length === 0) return;
    const messages = doorbellsFor(rung).map((data) => this.#write(deliveryRequested, data));
    appendToOutbox(this.#sql.db, messages);
  }

  readUnpublished(limit: number): readonly OutboxRow[] {
    return this.#table.readUnpublished(limit);
  }

  /** Inside the transaction of the caller. */
  markPublished(upTo: number): void {
    this.#table.markPublished(upTo);
  }
}
