/**
 * One connection to the broker that comes back by itself. amqplib's own recovery keeps time by itself; this one asks the Clock, rejects what was
 * in flight instead of sending it again (the toolkit owns the retry of a publish), and says when it is up.
 *
 *   down --connected--> preparing (`onUp`: topology, channels) --done--> up --closed--> down
 *                            '-- failed: closed, and tried again after a wait
 */
import { type ChannelModel, connect } from 'amqplib';
import { type Clock, pause } from '../../clock.ts';
import { MessagingError } from '../../errors.ts';
import { closeConnection, letGoOfSocket } from './closing.ts';
import { gatherWrites } from './gathering.ts';

export interface LinkParts {
  /** Of one broker: the nodes of a cluster. */
  readonly urls: readonly string[];
  readonly clock: Clock;
  /** Shown in the broker's list of connections. */
  readonly name: string;
  readonly onUp: (model: ChannelModel) => Promise<void>;
  readonly onDown: () => void;
  /** Why it does not come back; it goes on trying. */
  readonly onTrouble: (error: unknown) => void;
}

const FIRST_WAIT_MS = 50;
const LONGEST_WAIT_MS = 5_000;
const HEARTBEAT_S = 10;
const CONNECT_TIMEOUT_MS = 10_000;

export class Link {
  readonly #parts: LinkParts;
  #model: ChannelModel | undefined;
  #closing = new AbortController();
  /** The node to try next. A failed one is left behind, so that a connection stays where it worked. */
  #next = 0;

  constructor(parts: LinkParts) {
    this.#parts = parts;
  }

  /** The first connection; unlike later ones each node is tried once. */
  async open(): Promise<void> {
    for (let left = this.#parts.urls.length; ; left -= 1)
      try {
        return await this.#connect();
      } catch (error) {
        if (left <= 1) throw openingFault(error, this.#urlTried());
      }
  }

  #urlTried(): string {
    const { urls } = this.#parts;
    return urls[(this.#next + urls.length - 1) % urls.length] as string;
  }

  get up(): boolean {
    return this.#model !== undefined;
  }

  /** Rejects with a retryable error while the broker is out of reach. */
  model(): ChannelModel {
    if (this.#closing.signal.aborted)
      throw new MessagingError('DB_MSG_STOPPED', 'the engine has been closed');
    if (!this.#model) throw unreachable('the connection to the broker is down');
    return this.#model;
  }

  /** Within `LONGEST_CLOSE_MS`, whatever the broker does. */
  async close(): Promise<void> {
    this.#closing.abort();
    const model = this.#model;
    this.#model = undefined;
    if (model) await closeConnection(model, this.#parts.clock);
  }

  async #connect(): Promise<void> {
    const { urls, name, onUp } = this.#parts;
    const url = urls[this.#next % urls.length] as string;
    this.#next += 1;
    const model = await connect(withHeartbeat(url), {
      clientProperties: { connection_name: name },
      noDelay: true,
      timeout: CONNECT_TIMEOUT_MS,
    });
    gatherWrites(model);
    let closed = false;
    // Without a listener an error event would end the process; `close` follows it.
    model.on('error', () => {});
    model.on('close', (cause?: Error) => {
      closed = true;
      if (cause) letGoOfSocket(model, cause, this.#parts.clock);
      if (this.#model === model) this.#lost();
    });
    try {
      await onUp(model);
    } catch (error) {
      await closeConnection(model, this.#parts.clock);
      throw error;
    }
    if (closed || this.#closing.signal.aborted) {
      await closeConnection(model, this.#parts.clock);
      throw unreachable('the connection closed while it was being set up');
    }
    this.#model = model;
    this.#next -= 1;
  }

  #lost(): void {
    this.#model = undefined;
    // Under way before anybody is told, whatever comes of the telling: this is the event of a socket, and it comes once.
    if (!this.#closing.signal.aborted) void this.#comeBack();
    this.#parts.onDown();
  }

  async #comeBack(): Promise<void> {
    // All nodes in turn before the wait grows.
    for (let tried = 1, waitMs = FIRST_WAIT_MS; ; tried += 1) {
      if (tried % this.#parts.urls.length === 0) waitMs = Math.min(LONGEST_WAIT_MS, waitMs * 2);
      await pause(this.#parts.clock, waitMs, this.#closing.signal);
      if (this.#closing.signal.aborted) return;
      try {
        return await this.#connect();
      } catch (error) {
        this.#parts.onDown();
        if (!this.#closing.signal.aborted) this.#parts.onTrouble(openingFault(error, this.#urlTried()));
      }
    }
  }
}

/** amqplib gives the broker's refusals as words only; of a refused virtual host not even those, just that the broker closed. */
const REFUSED_LOGIN = /ACCESS[-_]REFUSED/;
const CLOSED_AT_OPEN = /Expected ConnectionOpenOk; got <ConnectionClose/;

/** Why the first connection did not come about: trying again helps only where nobody answered. */
export function openingFault(error: unknown, url: string): MessagingError {
  if (error instanceof MessagingError) return error;
  const { message } = error as Error;
  if (REFUSED_LOGIN.test(message))
    return new MessagingError('DB_MSG_ENGINE_REFUSED', `the broker refuses the credentials: ${message}`, {
      cause: error,
    });
  if (CLOSED_AT_OPEN.test(message))
    return new MessagingError(
      'DB_MSG_ENGINE_REFUSED',
      `the broker refuses the virtual host "${virtualHostOf(url)}": there is none of this name, this user may not use it, or it takes no more connections`,
      { cause: error },
    );
  return unreachable(`no connection to the broker: ${message}`, error);
}

function virtualHostOf(url: string): string {
  const { pathname } = new URL(url);
  return pathname === '' ? '/' : decodeURIComponent(pathname.slice(1));
}

export function unreachable(detail: string, cause?: unknown): MessagingError {
  return new MessagingError('DB_MSG_ENGINE_UNREACHABLE', detail, cause === undefined ? {} : { cause });
}

/** A dead peer is noticed after about two of them; the broker's default of 60 s is too long for leases of 30 s. */
function withHeartbeat(url: string): string {
  const parsed = new URL(url);
  if (!parsed.searchParams.has('heartbeat')) parsed.searchParams.set('heartbeat', String(HEARTBEAT_S));
  return parsed.toString();
}
