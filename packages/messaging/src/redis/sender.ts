/**
 * Commands on one connection, with their errors in the words of the catalogue and a limit to how long a server that stands still is waited for. The limit ends the connection, because nothing
 * else tells which command is stuck: all that is on it rejects, and while no new one is ready further commands reject at once.
 */
import { DisconnectsClientError } from 'redis';
import type { Clock } from '../clock.ts';
import { MessagingError } from '../errors.ts';
import { AnswerWatch } from './answer-watch.ts';
import { redisFaultOf, type RedisLink } from './server.ts';

export interface Patience {
  readonly clock: Clock;
  readonly answerTimeoutMs: number;
}

export interface Sender {
  /** Runs one command. Rejects with a MessagingError. */
  readonly send: (args: readonly string[]) => Promise<unknown>;
  /** At once; what is on its way rejects. */
  readonly end: () => void;
}

export function senderOn({ client, end }: RedisLink, patience: Patience | undefined): Sender {
  let isEnded = false;
  const watch =
    patience &&
    new AnswerWatch(patience.clock, patience.answerTimeoutMs, () => {
      // What comes back by itself is not ready, and nothing is sent on it.
      if (!client.isReady) return;
      client.destroy();
      // Goes on trying; rejects when the owner ends it meanwhile.
      client.connect().catch(() => {});
    });
  const faultOf = (error: unknown): MessagingError =>
    patience && error instanceof DisconnectsClientError && !isEnded
      ? new MessagingError(
          'DB_MSG_ENGINE_UNREACHABLE',
          `redis: the server has answered nothing for ${patience.answerTimeoutMs} ms`,
          { cause: error },
        )
      : redisFaultOf(error);
  return {
    async send(args) {
      watch?.asked();
      try {
        return await client.sendCommand(args);
      } catch (error) {
        throw faultOf(error);
      } finally {
        watch?.answered();
      }
    },
    end() {
      isEnded = true;
      watch?.end();
      end();
    },
  };
}
