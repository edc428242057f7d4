/** One database with the tables of outbox and inbox, as tools and tests use it: whatever it is, behind one face. */
import type { OutgoingMessage } from '../engine.ts';
import type { InboxStore } from '../handle-once.ts';
import type { OutboxStore } from '../outbox-store.ts';
import type { RecordedSource, SettledSource } from '../reconciliation-sources.ts';
import type { SqlDatabase, SqlDialect } from '../sql.ts';
import type { InboxPurge } from './inbox-purge.ts';
import type { SettledSourceOptions } from './sql-records.ts';

export interface SqlStore<Tx = unknown> {
  readonly kind: SqlDialect;
  /** The database itself: for sagas, streams and locks beside it. */
  readonly sql: SqlDatabase<Tx>;
  /** Creates the tables that are missing. */
  prepare(): Promise<void>;
  readonly outbox: OutboxStore;
  /** Appends in the open transaction `tx`, as `inbox.transaction` hands it out. */
  append(tx: Tx, messages: readonly OutgoingMessage[]): Promise<void>;
  readonly inbox: InboxStore<Tx>;
  /** Forgets handled ids by age; returns how many. */
  purgeInbox(purge: InboxPurge): Promise<number>;
  /** The outbox as a source of a reconciliation. */
  recorded(name: string): RecordedSource;
  /** The inbox of one subscription as a source of a reconciliation. */
  settled(options: SettledSourceOptions): SettledSource;
  /** Closes what was opened by an address; a pool or database that was handed in stays open. */
  close(): Promise<void>;
}
