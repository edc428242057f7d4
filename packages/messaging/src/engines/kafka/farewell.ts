/**
 * Leaving brokers that may not answer. A broker that stands still (a frozen machine, a network that swallows everything) keeps its connections, and the client waits for each
 * request as long as a request may take and tries it three times more: an orderly end took minutes. Whoever ends gives the brokers a while, and then cuts its connections.
 *
 * Nothing is lost by that: what was settled and not committed is handed out again, and a member that could not leave is one until its session has ended.
 */
import { Base } from '@platformatic/kafka';
import { type Clock, pause } from '../../clock.ts';

/** What brokers get to take a last commit, to let a member go or to take what was written, ms. */
export const FAREWELL_MS = 5_000;

export class Farewell {
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** False when it is not over after `ms`; then it ends by itself some time. Also true when it failed: nobody is left to care. */
  async endsWithin(ms: number, work: Promise<unknown>): Promise<boolean> {
    const over = new AbortController();
    const ended = work.then(
      () => true,
      () => true,
    );
    const isOver = await Promise.race([ended, pause(this.#clock, ms, over.signal).then(() => false)]);
    over.abort();
    return isOver;
  }

  /** Closes a client; what it has written leaves before, if somebody takes it. */
  async close(client: Base): Promise<void> {
    const open = connectionsOf(client);
    if (!(await this.endsWithin(FAREWELL_MS, client.close())))
      for (const { socket } of open) socket.destroy();
  }
}

/** Nothing of this client is connected from here on, nothing is tried again, and what it had asked for is rejected. */
export function cut(client: Base): void {
  const open = connectionsOf(client);
  // Not the client's own way to end: that of a member asks the broker first.
  void Base.prototype.close.call(client).catch(() => {});
  for (const { socket } of open) socket.destroy();
}

const connectionsOf = ({ connections }: Base) => [...connections].map(([, connection]) => connection);
