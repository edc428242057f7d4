/** The ledger's outbox: messages that tell of a change, written in its transaction. Ids only: no phone number, no voucher code. */
import {
  appendToOutbox,
  type Clock,
  createIds,
  createOutboxWriter,
  type OutboxRow,
  sqliteOutbox,
} from '@doorbuster/messaging';
import { deliveryRequested } from '../../messages.ts';
import type { Randomness } from '../../randomness.ts';
import type { Sql } from './sql.ts';
import type { Transaction } from './transaction.ts';

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

  deliveryRequested(tx: Transaction, campaignId: string, deliveryId: string): void {
    appendToOutbox(this.#sql.db, [this.#write(deliveryRequested, { campaignId, deliveryId })]);
    tx.outbox++;
  }

  readUnpublished(limit: number): readonly OutboxRow[] {
    return this.#table.readUnpublished(limit);
  }

  /** Inside the transaction of the caller. */
  markPublished(upTo: number): void {
    this.#table.markPublished(upTo);
  }
}
