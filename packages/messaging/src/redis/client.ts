/**
 * A connection as the engines on streams and on lists use it: commands as lists of texts, so that tests can stand between an engine and its server. How it connects, comes back and what its
 * errors are called is in `server.ts`.
 */
import { senderOn } from './sender.ts';
import { connectRedis, type RedisConnectionSettings, redisFaultOf } from './server.ts';

export interface RedisClient {
  /** Runs one command. Rejects with a MessagingError. */
  send(args: readonly string[]): Promise<unknown>;
  /** Calls back with each message of a channel; goes on after a reconnect. */
  listen(channel: string, hear: (message: string) => void): Promise<void>;
  /** A further connection with the same settings, for commands that block at most `blockMs` each: an answer is missed by so much later. */
  another(blockMs: number): Promise<RedisClient>;
  /** At once; what is on its way rejects. */
  end(): void;
}

export interface ClientOptions extends RedisConnectionSettings {
  /** Undefined, or without a clock: answers are waited for as long as it takes. */
  readonly answerTimeoutMs?: number | undefined;
}

/** How a connection is made: `onReady` is called after each reconnect. */
export type OpenClient = (options: ClientOptions, onReady: () => void) => Promise<RedisClient>;

/** Rejects as `connectRedis` does; `onReady` is called after each reconnect. */
export async function openClient(
  options: ClientOptions,
  onReady: () => void = () => {},
): Promise<RedisClient> {
  const { clock, answerTimeoutMs } = options;
  const link = await connectRedis(options, onReady);
  const { send, end } = senderOn(
    link,
    clock && answerTimeoutMs !== undefined ? { clock, answerTimeoutMs } : undefined,
  );
  return {
    send,
    end,
    async listen(channel, hear) {
      try {
        await link.client.subscribe(channel, hear);
      } catch (error) {
        throw redisFaultOf(error);
      }
    },
    another: (blockMs) =>
      openClient({ ...options, answerTimeoutMs: answerTimeoutMs && answerTimeoutMs + blockMs }),
  };
}
