/**
 * A connection to the server, and its errors in the words of the catalogue. Commands are never queued while the connection is down: a
 * publish that waits unseen for a reconnect cannot be told from one that is lost, so it rejects as retryable at once.
 */
import { createClient, ErrorReply } from 'redis';
import { MessagingError, type MessagingErrorCode } from '../../errors.ts';

export interface RedisClient {
  /** Runs one command. Rejects with a MessagingError. */
  send(args: readonly string[]): Promise<unknown>;
  /** Calls back with each message of a channel; goes on after a reconnect. */
  listen(channel: string, hear: (message: string) => void): Promise<void>;
  /** A further connection with the same settings, for what blocks. */
  another(): Promise<RedisClient>;
  /** At once; what is on its way rejects. */
  end(): void;
}

export interface ClientOptions {
  readonly url: string;
  /** Name of the connection on the server (CLIENT LIST). */
  readonly name: string;
  readonly connectTimeoutMs: number;
}

const LONGEST_RECONNECT_MS = 1_000;

/** Connects or rejects with DB_MSG_ENGINE_UNREACHABLE, DB_MSG_ENGINE_REFUSED or DB_MSG_INVALID_OPTIONS; after that it reconnects for ever. `onReady` is called after each reconnect. */
export async function openClient(
  options: ClientOptions,
  onReady: () => void = () => {},
): Promise<RedisClient> {
  let connected = false;
  let last: unknown;
  const client = createClient({
    url: checkedUrl(options.url),
    name: options.name,
    RESP: 2,
    disableOfflineQueue: true,
    socket: {
      connectTimeout: options.connectTimeoutMs,
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
  try {
    await client.connect();
  } catch (error) {
    client.destroy();
    throw faultOf(last ?? error);
  }
  connected = true;
  return {
    async send(args) {
      try {
        return await client.sendCommand(args);
      } catch (error) {
        throw faultOf(error);
      }
    },
    async listen(channel, hear) {
      try {
        await client.subscribe(channel, hear);
      } catch (error) {
        throw faultOf(error);
      }
    },
    another: () => openClient(options),
    end() {
      if (client.isOpen) client.destroy();
    },
  };
}

/** The client's own word for a path that is no number is "Invalid pathname", and it puts the whole address, secret and all, into others. */
function checkedUrl(url: string): string {
  const path = URL.parse(url)?.pathname ?? '/?';
  if (/^\/?\d*$/.test(path)) return url;
  throw new MessagingError(
    'DB_MSG_INVALID_OPTIONS',
    'redis: the URL is redis://[user:password@]host:port[/database], and the database is a number',
  );
}

/** By the first word of the server's reply; scripts repeat the word of the command that failed in them. */
const REPLIES: readonly (readonly [RegExp, MessagingErrorCode])[] = [
  [/^(OOM|MISCONF|NOREPLICAS)\b/, 'DB_MSG_ENGINE_FULL'],
  [/^(LOADING|READONLY|MASTERDOWN|BUSY|TRYAGAIN|CLUSTERDOWN|UNBLOCKED)\b/, 'DB_MSG_ENGINE_UNREACHABLE'],
  [/^(NOAUTH|WRONGPASS|NOPERM)\b/, 'DB_MSG_ENGINE_REFUSED'],
  // What SELECT says; the number is the path of the URL.
  [/^ERR (DB index is out of range|invalid DB index)/, 'DB_MSG_INVALID_OPTIONS'],
];

function faultOf(error: unknown): MessagingError {
  if (error instanceof MessagingError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const known = REPLIES.find(([pattern]) => pattern.test(message));
  const code =
    known?.[1] ?? (error instanceof ErrorReply ? 'DB_MSG_ENGINE_FAILED' : 'DB_MSG_ENGINE_UNREACHABLE');
  return new MessagingError(code, `redis: ${message}`, { cause: error });
}
