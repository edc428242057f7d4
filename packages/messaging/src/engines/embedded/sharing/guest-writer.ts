/**
 * The writer of a tool beside the application (`doorbuster-bus`): it speaks to whoever hosts the shared file and never hosts it. A person's tool is stopped, suspended
 * and forgotten, and an application whose file it hosted would stand still with it.
 *
 *   somebody listens             its turns go over the link
 *   nobody does, the file is free   it takes the file for this one turn, and lets go
 *   nobody does, the file is held   a moment later again, and after ten seconds an error
 *
 * Whoever comes to host gets the file between two turns at the latest. There are no consumers: nothing is handed out to who lets go of the file after each turn.
 */
import { existsSync } from 'node:fs';
import type { Durability } from '../../../channel.ts';
import { type Clock, pause } from '../../../clock.ts';
import type { EngineContext } from '../../../engine.ts';
import { MessagingError } from '../../../errors.ts';
import type { StoreOptions } from '../store.ts';
import type { Operation, OperationResult, Turn, TurnReply, Writer } from '../turn.ts';
import { openWriterThread } from '../writer.ts';
import { dial, type Link, SILENT_HOST } from './link.ts';
import { socketPathOf } from './socket-path.ts';

export interface GuestOptions {
  readonly path: string;
  readonly maxMessageBytes: number;
}

const SEEK_MS = 25;
const PATIENCE_MS = 10_000;
/** What nobody subscribed to is the application's, and so is how long it stays. */
const STORE: StoreOptions = { durable: true, keepUnsubscribedMs: Number.POSITIVE_INFINITY };
/** Doing these twice is not seen, so they are asked again when a link ended under them. */
const LOOKS: readonly Operation['op'][] = ['declare', 'inspect', 'peek', 'listDead'];

type Results = readonly OperationResult[];
type Declare = Extract<Operation, { op: 'declare' }>;

/** Rejects with the reason of a host that refuses it. */
export async function openGuestWriter(options: GuestOptions, context: EngineContext): Promise<Writer> {
  const writer = new GuestWriter(options, context.clock);
  await writer.open();
  return writer;
}

class GuestWriter implements Writer {
  durability: Durability = 'disk';
  shared: { maxMessageBytes: number };
  readonly #path: string;
  readonly #socketPath: string;
  readonly #clock: Clock;
  readonly #closing = new AbortController();
  /** Channels that go with a connection: the next host, and the next turn alone, do not know them. */
  readonly #ephemeral: Declare[] = [];
  #link: Link | undefined;
  /** Resolves when every turn that was asked is over. */
  #idle: Promise<unknown> = Promise.resolve();
  /** Somebody listened, and gave no answer in time. */
  #wasHeard = false;

  constructor({ path, maxMessageBytes }: GuestOptions, clock: Clock) {
    this.#path = path;
    this.#socketPath = socketPathOf(path);
    this.#clock = clock;
    this.shared = { maxMessageBytes };
  }

  async open(): Promise<void> {
    await this.#linked();
  }

  /** One after the other: two that find no link would make one each, and two on the file alone would be done in any order. */
  run(turn: Turn): Promise<TurnReply> {
    const mine = this.#idle.then(() => this.#run(turn));
    this.#idle = mine.catch(() => {});
    return mine;
  }

  async #run(turn: Turn): Promise<TurnReply> {
    const results = turn.operations.some(({ op }) => op === 'subscribe')
      ? told(turn, 'DB_MSG_UNSUPPORTED_CAPABILITY', 'a guest of a shared file takes no messages')
      : await this.#results(turn);
    this.#noteEphemeral(turn, results);
    return { results, handOuts: [], nextDueAt: undefined, nextLeaseEnd: undefined };
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#idle;
    await this.#link?.close();
  }

  async #results(turn: Turn): Promise<Results> {
    const until = this.#clock.monotonic() + PATIENCE_MS;
    try {
      do {
        const link = await this.#linked();
        const results = await (link ? over(link, turn) : this.#alone(turn));
        if (results) return results;
        await pause(this.#clock, SEEK_MS, this.#closing.signal);
      } while (!this.#closing.signal.aborted && this.#clock.monotonic() < until);
    } catch (error) {
      if (error instanceof MessagingError) return told(turn, error.code, error.message);
      throw error;
    }
    if (this.#wasHeard) return told(turn, 'DB_MSG_ENGINE_UNREACHABLE', SILENT_HOST);
    return told(
      turn,
      'DB_MSG_ENGINE_LOCKED',
      'the file is held by a process that does not answer on its socket: it is stopped, or it does not say share: true',
    );
  }

  async #linked(): Promise<Link | undefined> {
    if (this.#link) return this.#link;
    const { signal } = this.#closing;
    const link = await dial(this.#socketPath, { clock: this.#clock, receive: () => {}, signal });
    this.#wasHeard = link === 'silent';
    if (typeof link === 'string') return undefined;
    this.durability = link.durability;
    this.shared = { maxMessageBytes: link.maxMessageBytes };
    this.#link = link;
    void link.ended.then(() => {
      if (this.#link === link) this.#link = undefined;
    });
    if (this.#ephemeral.length > 0) await link.run(this.#ephemeral);
    return link;
  }

  /** One turn on the file itself; undefined when another process holds it. */
  async #alone(turn: Turn): Promise<Results | undefined> {
    if (!existsSync(this.#path))
      throw new MessagingError(
        'DB_MSG_ENGINE_UNSAFE',
        `there is no file ${this.#path}, and a guest makes none`,
      );
    const writer = await openWriterThread({ path: this.#path, options: STORE }, () => {}).catch(
      (error: MessagingError) => {
        if (error.code === 'DB_MSG_ENGINE_LOCKED') return undefined;
        throw error;
      },
    );
    if (!writer) return undefined;
    try {
      const operations = [...this.#ephemeral, ...turn.operations];
      const { results } = await writer.run({ ...turn, operations });
      return results.slice(this.#ephemeral.length);
    } finally {
      await writer.close();
    }
  }

  #noteEphemeral({ operations }: Turn, results: Results): void {
    operations.forEach((operation, at) => {
      const result = results[at];
      if (operation.op !== 'declare' || !result || 'error' in result) return;
      const channels = operation.topology.channels.filter(({ ephemeral }) => ephemeral);
      const names = new Set(channels.map(({ name }) => name));
      const subscriptions = operation.topology.subscriptions.filter(({ channel }) => names.has(channel));
      if (channels.length > 0) this.#ephemeral.push({ op: 'declare', topology: { channels, subscriptions } });
    });
  }
}

/** Undefined: the link ended, and it may be asked again elsewhere. */
async function over(link: Link, turn: Turn): Promise<Results | undefined> {
  const results = await link.run(turn.operations);
  if (results || turn.operations.every(({ op }) => LOOKS.includes(op))) return results;
  return told(
    turn,
    'DB_MSG_ENGINE_UNREACHABLE',
    'the process that hosts the file ended or does not answer; whether it was done is not known',
  );
}

function told({ operations }: Turn, code: MessagingError['code'], message: string): Results {
  return operations.map(() => ({ error: { code, message } }));
}
