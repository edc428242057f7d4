/**
 * What the engines on Redis (streams, lists, Pub/Sub) have in common towards their server: the options that say where it is, the connection that comes back by itself, and
 * its errors in the words of the catalogue. Engines do not import each other, so it lies beside them, in a folder that is no engine: what two or three of them would
 * otherwise have each. It knows nothing of messages, and nothing in this folder knows an engine.
 *
 * Commands are never queued while the connection is down: a publish that waits unseen for a reconnect cannot be told from one that is lost, so it
 * rejects as retryable at once.
 */
import { createClient, ErrorReply } from 'redis';
import type { Clock } from '../clock.ts';
import type { ServerAddress } from '../engine.ts';
import { MessagingError, type MessagingErrorCode } from '../errors.ts';
import { serverOf } from '../server-address.ts';

export interface RedisServerOptions {
  /** `redis://[user:password@]host:port[/database]`, or `rediss://` for TLS. */
  readonly url: string;
  /** After this time without an answer the server counts as out of reach, ms. Default 5,000. */
  readonly connectTimeoutMs?: number;
  /**
   * When not one whole answer comes for so long, or up to a quarter more, while something is asked, the connection is ended, ms: what waits rejects with DB_MSG_ENGINE_UNREACHABLE, and it is
   * connected anew. Longer than the largest answer takes on a slow way: all that a consumer has room for comes in one. Default 30,000.
   */
  readonly answerTimeoutMs?: number;
  /** Largest encoded message, bytes of UTF-8. Default 1 MiB. */
  readonly maxMessageBytes?: number;
}

export const redisDefaults = {
  prefix: 'doorbuster',
  maxMessageBytes: 2 ** 20,
  connectTimeoutMs: 5_000,
  answerTimeoutMs: 30_000,
} as const;

export interface RedisConnectionSettings {
  readonly url: string;
  /** Name of the connection on the server (CLIENT LIST). */
  readonly name: string;
  readonly connectTimeoutMs: number;
  /** Undefined: one that takes the connection and then stands still is waited for as long as it takes. */
  readonly clock?: Clock;
}

const DEFAULT_PORT = 6_379;

/** What the engine says of where it is, before it is connected. */
export function redisServerOf({ url }: Pick<RedisServerOptions, 'url'>): ServerAddress | undefined {
  return serverOf([url], DEFAULT_PORT);
}

export type NodeRedis = ReturnType<typeof createClient>;

export interface RedisLink {
  readonly client: NodeRedis;
  /** At once and for good, whatever it is doing; what is on its way rejects. */
  readonly end: () => void;
}

/** How such a connection is made. */
export type ConnectRedis = typeof connectRedis;

const PREFIX = /^[A-Za-z0-9._-]{0,60}$/;
const LONGEST_RECONNECT_MS = 1_000;

/** Throws DB_MSG_INVALID_OPTIONS when the prefix could not be told from the rest of a key. */
export function refuseBadPrefix(prefix: string): void {
  if (!PREFIX.test(prefix))
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', `prefix "${prefix}" does not fit ${PREFIX}`);
}

/**
 * Connects or rejects with DB_MSG_ENGINE_UNREACHABLE, DB_MSG_ENGINE_REFUSED or DB_MSG_INVALID_OPTIONS; after that it reconnects until it is ended. `onReady` is
 * called after each reconnect.
 */
export async function connectRedis(
  { url, name, connectTimeoutMs, clock }: RedisConnectionSettings,
  onReady: () => void = () => {},
): Promise<RedisLink> {
  let connected = false;
  let last: unknown;
  const ended = new AbortController();
  const client = createClient({
    url: checkedUrl(url),
    name,
    RESP: 2,
    disableOfflineQueue: true,
    socket: {
      connectTimeout: connectTimeoutMs,
      // The client forgets a socket until it is connected (TLS: until the handshake is over), and would take it into use after its own end.
      signal: ended.signal,
      reconnectStrategy: (retries, cause) =>
        connected ? Math.min(20 * 2 ** Math.min(retries, 10), LONGEST_RECONNECT_MS) : cause,
    },
  });
  // Without a listener an 'error' event would end the process; each command that was hit rejects by itself.
  client.on('error', (error: unknown) => {
    last = error;
  });
  client.on('ready', () => {
    if (connected) onReady();
  });
  const end = (): void => {
    if (client.isOpen) client.destroy();
    ended.abort();
  };
  // The client's own limit is for the connection alone, not for what is said on it at first.
  let late: Error | undefined;
  const cancel = clock?.setTimer(connectTimeoutMs, () => {
    late = new Error(`the server does not answer within ${connectTimeoutMs} ms`);
    end();
  });
  try {
    await client.connect();
    if (late) throw late;
  } catch (error) {
    end();
    throw redisFaultOf(last ?? late ?? error);
  } finally {
    cancel?.();
  }
  connected = true;
  return { client: client as NodeRedis, end };
}

/** The client's own word for a path that is no number is "Invalid pathname", and it puts the whole address, secret and all, into others. */
function checkedUrl(url: string): string {
  const { pathname = '/?', username = '', password = '' } = URL.parse(url) ?? {};
  if (/^\/?\d*$/.test(pathname) && [username, password].every(isDecodable)) return url;
  throw new MessagingError(
    'DB_MSG_INVALID_OPTIONS',
    'redis: the URL is redis://[user:password@]host:port[/database], the database is a number, and in user and password % is written as %25',
  );
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

/** By the first word of the server's reply; scripts repeat the word of the command that failed in them. */
const REPLIES: readonly (readonly [RegExp, MessagingErrorCode])[] = [
  [/^(OOM|MISCONF|NOREPLICAS)\b/, 'DB_MSG_ENGINE_FULL'],
  [/^(LOADING|READONLY|MASTERDOWN|BUSY|TRYAGAIN|CLUSTERDOWN|UNBLOCKED)\b/, 'DB_MSG_ENGINE_UNREACHABLE'],
  [/^(NOAUTH|WRONGPASS|NOPERM)\b/, 'DB_MSG_ENGINE_REFUSED'],
  // A password for a server without one, as Redis says it since 6 and before.
  [/^ERR (AUTH <password> called without|Client sent AUTH, but no password)/, 'DB_MSG_ENGINE_REFUSED'],
  // What SELECT says; the number is the path of the URL.
  [/^ERR (DB index is out of range|invalid DB index)/, 'DB_MSG_INVALID_OPTIONS'],
];

/** What the client threw, in the words of the catalogue. */
export function redisFaultOf(error: unknown): MessagingError {
  if (error instanceof MessagingError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const known = REPLIES.find(([pattern]) => pattern.test(message));
  const code =
    known?.[1] ?? (error instanceof ErrorReply ? 'DB_MSG_ENGINE_FAILED' : 'DB_MSG_ENGINE_UNREACHABLE');
  return new MessagingError(code, `redis: ${message}`, { cause: error });
}
