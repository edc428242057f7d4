/**
 * The main thread's side of the ledger: sends calls to the writer and the reader and settles their promises. Calls of one turn go as one
 * message. What the listeners hear comes from commits that have come back, in commit order, before the answers of the same transaction.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import type { LaneState } from '@doorbuster/core';
import { pause, systemClock } from '@doorbuster/messaging';
import { OperationalError } from '../../errors.ts';
import type { VerifyReport } from '../../ledger.ts';
import { FatalLedgerError } from './group-commit.ts';
import type { Backend, Snapshot } from './ledger-facade.ts';
import type { ReadArgs, ReadName, ReadResult, WriteArgs, WriteName, WriteResult } from './store.ts';
import type { FromReader, FromWriter, ThreadData, ToReader, WireCall, WireReply } from './thread.ts';
import { fromWire } from './wire.ts';

/** More calls than this waiting for the writer: LEDGER_BUSY. An admission call carries up to 512 entries. */
const maxWaiting = 4096;
/** Rest over work of calls that may wait. */
const restPerWork = 1;

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

export interface ThreadedOptions extends Omit<ThreadData, 'role'> {
  /** Called once when the writer failed or ended: the process must end at once. */
  readonly fatal: (error: Error) => void;
  /** Called when a lane comes to stand still for a person while it is served. */
  readonly onHalt: (lane: { readonly campaignId: string; readonly reason: string }) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly port: MessagePort;
}

function startThread(role: ThreadData['role'], data: Omit<ThreadData, 'role'>): Thread {
  const { port1, port2 } = new MessageChannel();
  const file = import.meta.url.endsWith('.ts') ? './thread.ts' : './thread.js';
  const { path, witnessPath, master, signingKeys } = data;
  const workerData = { role, path, witnessPath, master, signingKeys, port: port2 };
  // The system's tools show the thread by this name, so that its share of the processors can be told.
  const name = `ledger-${typeof role === 'string' ? role : role.job}`;
  return {
    worker: new Worker(new URL(file, import.meta.url), { name, workerData, transferList: [port2] }),
    port: port1,
  };
}

type First<T> = T | { readonly failed: Parameters<typeof fromWire>[0] };

/** Resolves with the first message; rejects when the thread failed or ended without one. */
function firstMessage<T>({ worker, port }: Thread): Promise<T> {
  return new Promise((resolve, reject) => {
    const take = (message: First<T>): void => {
      if (typeof message === 'object' && message !== null && 'failed' in message)
        reject(fromWire(message.failed));
      else resolve(message as T);
    };
    port.once('message', take);
    worker.once('error', reject);
    worker.once('exit', (code) => {
      const last = receiveMessageOnPort(port);
      if (last === undefined) reject(new Error(`a ledger thread ended with ${code}`));
      else take(last.message as First<T>);
    });
  });
}

export class ThreadedBackend implements Backend {
  readonly #options: ThreadedOptions;
  readonly #writer: Thread;
  readonly #reader: Thread;
  readonly #writes = new Map<number, Waiting>();
  readonly #reads = new Map<number, Waiting>();
  readonly #laneListeners = new Set<(lane: LaneState) => void>();
  readonly #outboxListeners = new Set<() => void>();
  #halted: Backend['halted'];
  #outgoing: WireCall[] = [];
  #id = 0;
  #closing: Promise<void> | null = null;
  #failed = false;

  static async open(options: ThreadedOptions): Promise<ThreadedBackend> {
    const writer = startThread('writer', options);
    const ready = await firstMessage<Extract<FromWriter, { ready: true }>>(writer);
    const reader = startThread('reader', options);
    try {
      await firstMessage(reader);
    } catch (error) {
      // The writer serves nobody, and its file must be closed before the directory's lock is given back.
      await Promise.all([writer, reader].map(({ worker }) => worker.terminate()));
      for (const { port } of [writer, reader]) port.close();
      throw error;
    }
    return new ThreadedBackend(options, writer, reader, ready.halted);
  }

  private constructor(options: ThreadedOptions, writer: Thread, reader: Thread, halted: Backend['halted']) {
    this.#options = options;
    this.#writer = writer;
    this.#reader = reader;
    this.#halted = halted;
    writer.port.on('message', (message: FromWriter) => this.#fromWriter(message));
    reader.port.on('message', (message: FromReader) => this.#fromReader(message));
    for (const { worker } of [writer, reader]) {
      worker.removeAllListeners('error').removeAllListeners('exit');
      worker.on('error', (error: Error) => this.#fail(error));
      worker.on('exit', (code) => {
        if (this.#closing === null) this.#fail(new Error(`a ledger thread ended with ${code}`));
      });
    }
  }

  write<K extends WriteName>(name: K, ...args: WriteArgs<K>): Promise<WriteResult<K>> {
    return this.#send(name, args, false) as Promise<WriteResult<K>>;
  }

  /** Then rests in proportion to the time it took: a bulk of such calls never has more than its share of processors and disk. */
  async writeLater<K extends WriteName>(name: K, ...args: WriteArgs<K>): Promise<WriteResult<K>> {
    const began = systemClock.monotonic();
    const value = (await this.#send(name, args, true)) as WriteResult<K>;
    await pause(systemClock, restPerWork * (systemClock.monotonic() - began));
    return value;
  }

  #send(name: WriteName, args: readonly unknown[], later: boolean): Promise<unknown> {
    if (this.#closing !== null || this.#failed) return Promise.reject(new OperationalError('LEDGER_CLOSED'));
    if (this.#writes.size >= maxWaiting)
      return Promise.reject(new OperationalError('LEDGER_BUSY', { retryAfterMs: 1000 }));
    const id = ++this.#id;
    if (this.#outgoing.length === 0) queueMicrotask(() => this.#flush());
    this.#outgoing.push({ id, name, args, later });
    return new Promise((resolve, reject) => void this.#writes.set(id, { resolve, reject }));
  }

  #flush(): void {
    const calls = this.#outgoing;
    this.#outgoing = [];
    if (calls.length > 0) this.#writer.port.postMessage({ calls }, calls.flatMap(ownBuffers));
  }

  #fromWriter(message: FromWriter): void {
    if ('fatal' in message) return this.#fail(fromWire(message.fatal));
    if ('halted' in message && !('ready' in message)) return this.#halt(message.halted);
    if (!('replies' in message)) return;
    for (const lane of message.lanes) for (const listener of this.#laneListeners) listener(lane);
    for (const reply of message.replies) settle(this.#writes, reply);
    if (message.outbox) for (const listener of this.#outboxListeners) listener();
  }

  #halt(halted: Backend['halted']): void {
    const before = new Set(this.#halted.map(({ campaignId }) => campaignId));
    this.#halted = halted;
    for (const lane of halted) if (!before.has(lane.campaignId)) this.#options.onHalt(lane);
  }

  get halted(): Backend['halted'] {
    return this.#halted;
  }

  #fromReader(message: FromReader): void {
    if ('id' in message) settle(this.#reads, message);
  }

  read<K extends ReadName>(name: K, ...args: ReadArgs<K>): Promise<ReadResult<K>> {
    return this.#ask((id) => ({ id, name, args, snapshot: null })) as Promise<ReadResult<K>>;
  }

  #ask(message: (id: number) => ToReader): Promise<unknown> {
    if (this.#closing !== null || this.#failed) return Promise.reject(new OperationalError('LEDGER_CLOSED'));
    const id = ++this.#id;
    return new Promise((resolve, reject) => {
      this.#reads.set(id, { resolve, reject });
      this.#reader.port.postMessage(message(id));
    });
  }

  async snapshot(): Promise<Snapshot> {
    const snapshot = (await this.#ask((id) => ({ id, openSnapshot: true }))) as number;
    return {
      read: <K extends ReadName>(name: K, ...args: ReadArgs<K>) =>
        this.#ask((id) => ({ id, name, args, snapshot })) as Promise<ReadResult<K>>,
      close: async () => void (await this.#ask((id) => ({ id, closeSnapshot: snapshot }))),
    };
  }

  onLane(listener: (lane: LaneState) => void): () => void {
    this.#laneListeners.add(listener);
    return () => void this.#laneListeners.delete(listener);
  }

  onOutbox(listener: () => void): () => void {
    this.#outboxListeners.add(listener);
    return () => void this.#outboxListeners.delete(listener);
  }

  verify(): Promise<VerifyReport> {
    return this.#job({ job: 'verify' }) as Promise<VerifyReport>;
  }

  /** SQLite's own check of the whole file. Throws LEDGER_DAMAGED. */
  async lookOver(): Promise<void> {
    await this.#job({ job: 'look-over' });
  }

  async backup(path: string): Promise<void> {
    await this.#job({ job: 'backup', to: path });
  }

  async #job(role: Exclude<ThreadData['role'], string>): Promise<unknown> {
    if (this.#closing !== null || this.#failed) throw new OperationalError('LEDGER_CLOSED');
    const thread = startThread(role, this.#options);
    try {
      return (await firstMessage<{ readonly value: unknown }>(thread)).value;
    } finally {
      thread.port.close();
    }
  }

  /** What is under way has an unknown outcome: the owner ends the process, the members ask again. */
  #fail(error: Error): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#options.fatal(
      error instanceof FatalLedgerError
        ? error
        : new FatalLedgerError('a ledger thread failed', { cause: error }),
    );
    for (const waiting of [this.#writes, this.#reads]) {
      for (const { reject } of waiting.values())
        reject(new OperationalError('LEDGER_CLOSED', { cause: error }));
      waiting.clear();
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#flush();
    if (this.#failed) return;
    const ended = [this.#reader, this.#writer].map(
      ({ worker }) => new Promise<void>((resolve) => void worker.once('exit', () => resolve())),
    );
    this.#reader.port.postMessage({ close: true });
    this.#writer.port.postMessage({ close: true });
    await Promise.all(ended);
    for (const { port } of [this.#reader, this.#writer]) port.close();
  }
}

/** Packed batches have buffers of their own, which are handed over instead of copied. */
function ownBuffers({ name, args }: WireCall): readonly ArrayBuffer[] {
  return name === 'admit' ? [(args[1] as Uint8Array<ArrayBuffer>).buffer] : [];
}

function settle(waiting: Map<number, Waiting>, reply: WireReply): void {
  const call = waiting.get(reply.id);
  waiting.delete(reply.id);
  if (call === undefined) return;
  if ('error' in reply) call.reject(fromWire(reply.error));
  else call.resolve(reply.value);
}
