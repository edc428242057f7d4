/**
 * The ledger in this thread, on a connection that is given or a fresh in-memory one: for the simulator and for fast tests. The same store and the
 * same group commit as behind the threads; only who runs them differs. Writes of one turn are committed together.
 *
 * Not for production: it blocks the thread that serves, and a snapshot is only as steady as the caller leaves the ledger between its reads.
 */
import { DatabaseSync } from 'node:sqlite';
import type { LaneState } from '@doorbuster/core';
import type { Clock } from '@doorbuster/messaging';
import { Signer } from '../../audit/signer.ts';
import { publicKeySet, verifierOf } from '../../audit/keys.ts';
import { OperationalError } from '../../errors.ts';
import type { Ledger, VerifyReport } from '../../ledger.ts';
import type { Randomness } from '../../randomness.ts';
import type { SigningKey } from '../../secrets.ts';
import { Vault } from '../../vault.ts';
import { type Call, GroupCommit, type Reply } from './group-commit.ts';
import { type Backend, createLedger, type Snapshot } from './ledger-facade.ts';
import { loadKeys, prepareStore } from './prepare.ts';
import { migrate } from './schema.ts';
import {
  openStore,
  type ReadArgs,
  type ReadName,
  type ReadResult,
  readsOf,
  type Store,
  type WriteArgs,
  type WriteName,
  type WriteResult,
} from './store.ts';
import { verifyLedger } from './verify.ts';

export interface InProcessOptions {
  /** 32 bytes. */
  readonly master: Uint8Array;
  /** Newest first. */
  readonly signingKeys: readonly SigningKey[];
  readonly clock: Clock;
  readonly randomness: Randomness;
  /** Default: a new one in memory. It is closed with the ledger. */
  readonly db?: DatabaseSync;
  /** Runs the next transaction; default `queueMicrotask`. A simulator decides here when (and whether) a transaction runs. */
  readonly schedule?: (run: () => void) => void;
  /** Entries of a run of member keys at least; default 24, so that every test of some entries has runs, whole and half done. */
  readonly shortestRun?: number;
  /** Called once after an error that leaves the file's state unknown; the ledger answers nothing any more. Default: throws. */
  readonly fatal?: (error: Error) => void;
}

const shortestRun = 24;

export interface InProcessLedger extends Ledger {
  readonly db: DatabaseSync;
}

export function openInProcessLedger(options: InProcessOptions): InProcessLedger {
  const db = options.db ?? new DatabaseSync(':memory:');
  db.exec('PRAGMA foreign_keys = ON');
  migrate(db);
  const { clock, randomness } = options;
  const store = openStore({
    db,
    clock,
    randomness,
    vault: new Vault(options.master),
    signer: new Signer(options.signingKeys),
    role: 'writer',
    shortestRun: options.shortestRun ?? shortestRun,
  });
  prepareStore(store);
  loadKeys(store);
  const backend = new InProcessBackend(store, options);
  return { ...createLedger(backend), db };
}

interface Waiting extends Call {
  readonly settle: (reply: Reply) => void;
}
type Read = (...args: readonly unknown[]) => unknown;

class InProcessBackend implements Backend {
  readonly #store: Store;
  readonly #options: InProcessOptions;
  readonly #commit: GroupCommit;
  readonly #reads: Readonly<Record<string, Read>>;
  readonly #laneListeners = new Set<(lane: LaneState) => void>();
  readonly #outboxListeners = new Set<() => void>();
  #waiting: Waiting[] = [];
  #closed = false;

  constructor(store: Store, options: InProcessOptions) {
    this.#store = store;
    this.#options = options;
    this.#commit = new GroupCommit(store);
    this.#reads = readsOf(store) as unknown as Readonly<Record<string, Read>>;
  }

  get halted(): Backend['halted'] {
    return this.#store.halts.all();
  }

  write<K extends WriteName>(name: K, ...args: WriteArgs<K>): Promise<WriteResult<K>> {
    if (this.#closed) return Promise.reject(new OperationalError('LEDGER_CLOSED'));
    return new Promise((resolve, reject) => {
      const settle = (reply: Reply): void =>
        reply.ok ? resolve(reply.value as WriteResult<K>) : reject(reply.error);
      this.#waiting.push({ name, args, settle });
      if (this.#waiting.length === 1) (this.#options.schedule ?? queueMicrotask)(() => this.#flush());
    });
  }

  writeLater<K extends WriteName>(name: K, ...args: WriteArgs<K>): Promise<WriteResult<K>> {
    return this.write(name, ...args);
  }

  #flush(): void {
    const calls = this.#waiting;
    this.#waiting = [];
    if (calls.length === 0 || this.#closed) return;
    try {
      const { replies, lanes, outbox } = this.#commit.run(calls);
      for (const lane of lanes) for (const listener of this.#laneListeners) listener(lane);
      for (const [i, call] of calls.entries()) call.settle(replies[i] as Reply);
      if (outbox) for (const listener of this.#outboxListeners) listener();
    } catch (error) {
      this.#closed = true;
      if (this.#options.fatal === undefined) throw error;
      this.#options.fatal(error as Error);
    }
  }

  async read<K extends ReadName>(name: K, ...args: ReadArgs<K>): Promise<ReadResult<K>> {
    if (this.#closed) throw new OperationalError('LEDGER_CLOSED');
    return (this.#reads[name] as Read)(...args) as ReadResult<K>;
  }

  async snapshot(): Promise<Snapshot> {
    return { read: (name, ...args) => this.read(name, ...args), close: async () => {} };
  }

  onLane(listener: (lane: LaneState) => void): () => void {
    this.#laneListeners.add(listener);
    return () => void this.#laneListeners.delete(listener);
  }

  onOutbox(listener: () => void): () => void {
    this.#outboxListeners.add(listener);
    return () => void this.#outboxListeners.delete(listener);
  }

  async verify(): Promise<VerifyReport> {
    return verifyLedger(this.#store.sql.db, {
      verifySignature: verifierOf(publicKeySet(this.#options.signingKeys)),
    });
  }

  async backup(path: string): Promise<void> {
    this.#store.sql.db.prepare('VACUUM INTO ?').run(path);
  }

  async close(): Promise<void> {
    this.#flush();
    this.#closed = true;
    if (this.#store.sql.db.isOpen) this.#store.sql.db.close();
  }
}
