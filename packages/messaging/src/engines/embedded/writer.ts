/**
 * The two writers of the embedded engine: a worker thread that owns the file, so that no sync ever blocks the event loop, and
 * one in this thread on a database of the caller's (in memory), for simulations and tests. Both run the same `Store`.
 */
import type { DatabaseSync } from 'node:sqlite';
import { Worker } from 'node:worker_threads';
import { MessagingError, type MessagingErrorCode } from '../../errors.ts';
import { KEEP_UNSUBSCRIBED_MS } from './options.ts';
import {
  type AheadBody,
  noneAhead,
  type PackedReply,
  type PackedTurn,
  packTurn,
  type Texts,
  unpackBodies,
  unpackHandOut,
  unpackReply,
} from './packing.ts';
import { refuseWithoutSqlite } from '../../sqlite-present.ts';
import { Store, type StoreOptions } from './store.ts';
import type { ReadBody, Turn, TurnReply, Writer } from './turn.ts';

export interface WriterThreadData {
  readonly path: string;
  readonly options: StoreOptions;
}

export type WriterThreadRequest = { readonly turn: PackedTurn } | { readonly close: true };

export type WriterThreadReply =
  | { readonly ready: true }
  /** What the turn that is being committed hands out, if it is. */
  | { readonly foretold: PackedReply['handOuts'] }
  | { readonly reply: PackedReply; readonly asForetold?: true }
  /** Instead of those before: bodies that later turns may hand out by their places. */
  | { readonly ahead: Texts }
  | { readonly closed: true }
  | { readonly refused: { readonly code: MessagingErrorCode; readonly message: string } }
  | { readonly failed: string };

/**
 * Opens the file in a thread of its own. Rejects with DB_MSG_ENGINE_LOCKED, DB_MSG_ENGINE_UNSAFE, DB_MSG_ENGINE_FAILED when the thread ends before it has the file or, on an old
 * Node, DB_MSG_PEER_MISSING. `onFatal` is called at most once, and never where this rejects.
 */
export async function openWriterThread(
  data: WriterThreadData,
  onFatal: (error: Error) => void,
): Promise<Writer> {
  refuseWithoutSqlite('the embedded engine');
  // The thread imports by relative paths only, so it needs none of the process's flags; some (--input-type) would break it.
  // Sources run as .ts under type stripping, the published package as .js beside this file.
  const entry = import.meta.url.endsWith('.ts') ? './writer-thread.ts' : './writer-thread.js';
  const worker = new Worker(new URL(entry, import.meta.url), {
    workerData: data,
    name: 'doorbuster-bus-writer',
    execArgv: [],
  });
  const writer = new ThreadWriter(worker, onFatal);
  await writer.opened;
  return writer;
}

interface Waiting {
  readonly resolve: (reply: TurnReply) => void;
  readonly reject: (error: Error) => void;
}

class ThreadWriter implements Writer {
  readonly durability = 'disk';
  readonly opened: Promise<void>;
  readonly #worker: Worker;
  readonly #waiting: Waiting[] = [];
  readonly #onFatal: (error: Error) => void;
  /** Undefined once it is open. */
  #settleOpen: { resolve: () => void; reject: (error: Error) => void } | undefined;
  #closed: (() => void) | undefined;
  #foretold: TurnReply['handOuts'] = [];
  #read: (handOuts: TurnReply['handOuts']) => void = () => {};
  #ahead: (AheadBody | undefined)[] = [];
  #readBody: ((body: string) => ReadBody) | undefined;
  #lost: Error | undefined;

  constructor(worker: Worker, onFatal: (error: Error) => void) {
    this.#worker = worker;
    this.#onFatal = onFatal;
    this.opened = new Promise((resolve, reject) => {
      this.#settleOpen = { resolve, reject };
    });
    worker.on('message', (message: WriterThreadReply) => this.#receive(message));
    worker.on('error', (error: unknown) =>
      this.#lose(error instanceof Error ? error : new Error(String(error))),
    );
    worker.on('exit', () => this.#exit());
  }

  run(turn: Turn): Promise<TurnReply> {
    if (this.#lost) return Promise.reject(this.#lost);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#worker.postMessage({ turn: packTurn(turn) } satisfies WriterThreadRequest);
    });
  }

  foretell(read: (handOuts: TurnReply['handOuts']) => void): void {
    this.#read = read;
  }

  readAhead(read: (body: string) => ReadBody): void {
    this.#readBody = read;
  }

  async close(): Promise<void> {
    if (this.#lost) return;
    await new Promise<void>((resolve) => {
      this.#closed = resolve;
      this.#worker.postMessage({ close: true } satisfies WriterThreadRequest);
    });
  }

  #receive(message: WriterThreadReply): void {
    if ('reply' in message) this.#answer(message);
    else if ('foretold' in message) this.#foretell(message.foretold);
    else if ('ahead' in message)
      this.#ahead = unpackBodies(message.ahead).map((body) => ({ body, read: this.#readBody?.(body) }));
    else if ('ready' in message) this.#open();
    else if ('refused' in message)
      this.#refuse(new MessagingError(message.refused.code, message.refused.message));
    else if ('failed' in message) this.#lose(new Error(message.failed));
  }

  #open(): void {
    this.#settleOpen?.resolve();
    this.#settleOpen = undefined;
  }

  #foretell(handOuts: PackedReply['handOuts']): void {
    try {
      this.#foretold = handOuts.map((one) => unpackHandOut(one, this.#takeAhead));
    } catch (error) {
      // The two threads are not of one mind: what the other one stores from here on would be handed over wrong.
      void this.#worker.terminate();
      return this.#lose(error as Error);
    }
    this.#read(this.#foretold);
  }

  /** Each is handed out once, and then nothing here holds it any more. */
  readonly #takeAhead = (place: number): AheadBody => {
    const one = this.#ahead[place];
    if (!one) return noneAhead(place);
    this.#ahead[place] = undefined;
    return one;
  };

  #answer({ reply, asForetold }: Extract<WriterThreadReply, { reply: unknown }>): void {
    const unpacked = unpackReply(reply);
    const whole = asForetold ? { ...unpacked, handOuts: this.#foretold } : unpacked;
    this.#foretold = [];
    this.#waiting.shift()?.resolve(whole);
  }

  /** Opening was refused: that is told to the caller and is no failure of a running engine. */
  #refuse(error: MessagingError): void {
    this.#lost = error;
    this.#settleOpen?.reject(error);
  }

  #exit(): void {
    if (this.#lost) return;
    if (this.#closed) {
      this.#lost = new MessagingError('DB_MSG_STOPPED', 'the engine has been closed');
      for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#lost);
      this.#closed();
    } else this.#lose(new Error('the writer thread ended'));
  }

  #lose(cause: Error): void {
    if (this.#lost) return;
    this.#lost = new MessagingError('DB_MSG_ENGINE_FAILED', `the writer failed: ${cause.message}`, { cause });
    for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#lost);
    this.#closed?.();
    // Before it is open, whoever opens it is told by the rejection: there is no running engine yet that could fail.
    if (this.#settleOpen) this.#settleOpen.reject(this.#lost);
    else this.#onFatal(this.#lost);
  }
}

/**
 * A writer in this thread on a database that stays the caller's: it is neither configured for durability nor closed. A crash is
 * simulated by dropping everything and opening a new writer on `serialize`d bytes.
 */
export function openInProcessWriter(
  database: DatabaseSync,
  options: { readonly keepUnsubscribedMs?: number } = {},
): Writer {
  const store = new Store(database, {
    durable: false,
    keepUnsubscribedMs: options.keepUnsubscribedMs ?? KEEP_UNSUBSCRIBED_MS,
  });
  let closed = false;
  return {
    durability: 'memory',
    async run(turn) {
      if (closed) throw new MessagingError('DB_MSG_STOPPED', 'the engine has been closed');
      return store.run(turn);
    },
    async close() {
      if (!closed) store.close();
      closed = true;
    },
  };
}
