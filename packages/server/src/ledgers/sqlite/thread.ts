/**
 * The ledger's threads. `writer` owns the one connection that writes and runs the group commit; `reader` has a read-only connection, so that no list,
 * export or look-up blocks the HTTP thread or the writer; `job` runs one long task (verify, backup) on a connection of its own and ends.
 */
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { closeSync, fsyncSync, openSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import type { LaneState } from '@doorbuster/core';
import { systemClock } from '@doorbuster/messaging';
import { publicKeySet, verifierOf } from '../../audit/keys.ts';
import { Signer } from '../../audit/signer.ts';
import { systemRandomness } from '../../randomness.ts';
import type { SigningKey } from '../../secrets.ts';
import { Vault } from '../../vault.ts';
import { type Call, GroupCommit } from './group-commit.ts';
import { lookOver, openForReading, openLedgerFile, syncDirectory } from './ledger-file.ts';
import { loadKeys, prepareStore } from './prepare.ts';
import { openStore, readsOf, type Store } from './store.ts';
import { verifyLedger } from './verify.ts';
import { toWire, type WireError } from './wire.ts';
import { compareWithWitness, readWitness, Witness } from './witness.ts';

export interface ThreadData {
  readonly role:
    | 'writer'
    | 'reader'
    | { readonly job: 'verify' | 'look-over' }
    | { readonly job: 'backup'; readonly to: string };
  readonly path: string;
  readonly witnessPath: string;
  readonly master: Uint8Array;
  readonly signingKeys: readonly SigningKey[];
}
export interface WireCall extends Call {
  readonly id: number;
  /** At most one such call goes into a transaction. */
  readonly later: boolean;
}
export type ToWriter = { readonly calls: readonly WireCall[] } | { readonly close: true };
export type WireReply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: WireError };
export type FromWriter =
  | {
      readonly ready: true;
      readonly halted: readonly { readonly campaignId: string; readonly reason: string }[];
    }
  | { readonly failed: WireError }
  | {
      readonly replies: readonly WireReply[];
      readonly lanes: readonly LaneState[];
      readonly outbox: boolean;
    }
  /** A lane was halted while it was served. */
  | { readonly halted: readonly { readonly campaignId: string; readonly reason: string }[] }
  | { readonly fatal: WireError }
  | { readonly closed: true };
export type ToReader =
  | {
      readonly id: number;
      readonly name: string;
      readonly args: readonly unknown[];
      readonly snapshot: number | null;
    }
  | { readonly id: number; readonly openSnapshot: true }
  | { readonly id: number; readonly closeSnapshot: number }
  | { readonly close: true };
export type FromReader =
  | WireReply
  | { readonly ready: true }
  | { readonly failed: WireError }
  | { readonly closed: true };

/** Signatures and the witness are stored this long after the last transaction at the latest. */
const idleMs = 200;
const witnessEveryMs = 1000;

function storeOn(db: DatabaseSync, data: ThreadData, role: 'writer' | 'reader'): Store {
  return openStore({
    db,
    clock: systemClock,
    randomness: systemRandomness(),
    vault: new Vault(data.master),
    signer: new Signer(data.signingKeys),
    role,
  });
}

class WriterThread {
  readonly #port: MessagePort;
  readonly #store: Store;
  readonly #commit: GroupCommit;
  readonly #witness: Witness;
  readonly #urgent: WireCall[] = [];
  readonly #later: WireCall[] = [];
  #scheduled = false;
  #closing = false;
  #cancelIdle: () => void = () => {};
  #witnessedAt = 0;
  #halted = 0;

  constructor(port: MessagePort, data: ThreadData) {
    this.#port = port;
    this.#store = storeOn(openLedgerFile(data.path), data, 'writer');
    this.#commit = new GroupCommit(this.#store);
    const seen = readWitness(data.witnessPath);
    compareWithWitness(this.#store.sql, seen, this.#store.halts);
    this.#witness = new Witness(data.witnessPath, seen);
    prepareStore(this.#store);
    loadKeys(this.#store);
    port.on('message', (message: ToWriter) => this.#accept(message));
    const halted = this.#store.halts.all();
    this.#halted = halted.length;
    this.#post({ ready: true, halted });
  }

  #post(message: FromWriter, transfer: ArrayBuffer[] = []): void {
    this.#port.postMessage(message, transfer);
  }

  #accept(message: ToWriter): void {
    if ('close' in message) this.#closing = true;
    else for (const call of message.calls) (call.later ? this.#later : this.#urgent).push(call);
    this.#schedule();
  }

  /** `setImmediate` and not a loop: timers and the witness get their turn between two transactions. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#step();
    });
  }

  #step(): void {
    for (
      let next = receiveMessageOnPort(this.#port);
      next !== undefined;
      next = receiveMessageOnPort(this.#port)
    )
      this.#accept(next.message as ToWriter);
    const calls = this.#urgent.splice(0);
    const later = this.#later.shift();
    if (later !== undefined) calls.push(later);
    if (calls.length > 0) this.#runNow(calls);
    else if (this.#closing) return void this.#close();
    if (this.#urgent.length > 0 || this.#later.length > 0 || this.#closing) this.#schedule();
  }

  #runNow(calls: readonly WireCall[]): void {
    try {
      const { replies, lanes, outbox, sealed } = this.#commit.run(calls);
      this.#witness.note(sealed);
      const answers = replies.map((reply, i): WireReply => {
        const { id } = calls[i] as WireCall;
        return reply.ok ? { id, value: reply.value } : { id, error: toWire(reply.error) };
      });
      const packed = answers.flatMap((answer, i) =>
        calls[i]?.name === 'admit' && 'value' in answer
          ? [(answer.value as Uint8Array<ArrayBuffer>).buffer]
          : [],
      );
      if (calls.length > 0) this.#post({ replies: answers, lanes, outbox }, packed);
      this.#tellHalts();
    } catch (error) {
      this.#post({ fatal: toWire(error) });
    }
    this.#afterwards();
  }

  #tellHalts(): void {
    const halted = this.#store.halts.all();
    if (halted.length === this.#halted) return;
    this.#halted = halted.length;
    this.#post({ halted });
  }

  /** Stores what may wait: signatures when nothing else is to be written, the witness once a second. */
  #afterwards(): void {
    const now = systemClock.monotonic();
    if (this.#witness.isDirty && now - this.#witnessedAt >= witnessEveryMs) {
      this.#witnessedAt = now;
      void this.#witness.write();
    }
    this.#cancelIdle();
    if (!this.#hasToStore() && !this.#witness.isDirty) return;
    this.#cancelIdle = systemClock.setTimer(idleMs, () => this.#idle());
  }

  /** Signatures, or keys on their way into the index. */
  #hasToStore(): boolean {
    return this.#store.log.hasUnstored || this.#store.runs.hasWork;
  }

  #idle(): void {
    if (this.#closing) return;
    if (this.#hasToStore()) this.#runNow([]);
    else if (this.#witness.isDirty) this.#afterwards();
  }

  async #close(): Promise<void> {
    this.#cancelIdle();
    if (this.#store.log.hasUnstored) this.#commit.run([]);
    await this.#witness.writeLast().catch(() => {});
    this.#store.sql.db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    this.#store.sql.db.close();
    this.#post({ closed: true });
    this.#port.close();
  }
}

type Read = (...args: readonly unknown[]) => unknown;
interface Connection {
  readonly store: Store;
  readonly reads: Readonly<Record<string, Read>>;
}

class ReaderThread {
  readonly #port: MessagePort;
  readonly #data: ThreadData;
  readonly #main: Connection;
  readonly #snapshots = new Map<number, Connection>();

  constructor(port: MessagePort, data: ThreadData) {
    this.#port = port;
    this.#data = data;
    this.#main = this.#connect();
    port.on('message', (message: ToReader) => this.#answer(message));
    this.#post({ ready: true });
  }

  #connect(): Connection {
    const store = storeOn(openForReading(this.#data.path), this.#data, 'reader');
    return { store, reads: readsOf(store) as unknown as Readonly<Record<string, Read>> };
  }

  #post(message: FromReader, transfer: ArrayBuffer[] = []): void {
    this.#port.postMessage(message, transfer);
  }

  #answer(message: ToReader): void {
    if ('close' in message) return this.#close();
    const { id } = message;
    try {
      const value = this.#perform(message);
      this.#post(
        { id, value },
        'name' in message && message.name === 'memberKeysAfter' ? [bufferOf(value)] : [],
      );
    } catch (error) {
      this.#post({ id, error: toWire(error) });
    }
  }

  #perform(message: Exclude<ToReader, { close: true }>): unknown {
    if ('openSnapshot' in message) return this.#openSnapshot(message.id);
    if ('closeSnapshot' in message) return this.#closeSnapshot(message.closeSnapshot);
    if (message.snapshot === null) return this.#readOnce(message.name, message.args);
    const connection = this.#snapshots.get(message.snapshot);
    if (connection === undefined) throw new Error('the snapshot is closed');
    return (connection.reads[message.name] as Read)(...message.args);
  }

  /** Several statements of one read see one state. */
  #readOnce(name: string, args: readonly unknown[]): unknown {
    const { db } = this.#main.store.sql;
    db.exec('BEGIN');
    try {
      return (this.#main.reads[name] as Read)(...args);
    } finally {
      db.exec('COMMIT');
    }
  }

  #openSnapshot(id: number): number {
    const connection = this.#connect();
    connection.store.sql.db.exec('BEGIN');
    connection.store.sql.get('SELECT 1 FROM campaigns LIMIT 1');
    this.#snapshots.set(id, connection);
    return id;
  }

  #closeSnapshot(id: number): void {
    this.#snapshots.get(id)?.store.sql.db.close();
    this.#snapshots.delete(id);
  }

  #close(): void {
    for (const id of this.#snapshots.keys()) this.#closeSnapshot(id);
    this.#main.store.sql.db.close();
    this.#post({ closed: true });
    this.#port.close();
  }
}

function bufferOf(keys: unknown): ArrayBuffer {
  return (keys as { readonly keys: Uint8Array<ArrayBuffer> }).keys.buffer;
}

type Job = Exclude<ThreadData['role'], string>;

function runJob(port: MessagePort, data: ThreadData, role: Job): void {
  const db = openForReading(data.path);
  port.postMessage({ id: 0, value: perform(db, data, role) });
  db.close();
  port.close();
}

function perform(db: DatabaseSync, data: ThreadData, role: Job): unknown {
  switch (role.job) {
    case 'backup':
      return backUp(db, role.to);
    case 'look-over':
      return lookOver(db);
    case 'verify': {
      db.exec('BEGIN');
      const verifySignature = verifierOf(publicKeySet(data.signingKeys));
      return verifyLedger(db, { verifySignature, vault: new Vault(data.master) });
    }
  }
}

/** A consistent copy, on the disk when it returns. */
function backUp(db: DatabaseSync, to: string): void {
  db.prepare('VACUUM INTO ?').run(to);
  const fd = openSync(to, 'r');
  fsyncSync(fd);
  closeSync(fd);
  syncDirectory(to);
}

function start(port: MessagePort, data: ThreadData): void {
  try {
    if (data.role === 'writer') new WriterThread(port, data);
    else if (data.role === 'reader') new ReaderThread(port, data);
    else runJob(port, data, data.role);
  } catch (error) {
    port.postMessage({ failed: toWire(error) });
    port.close();
  }
}

if (parentPort !== null) start((workerData as { port: MessagePort }).port, workerData as ThreadData);
