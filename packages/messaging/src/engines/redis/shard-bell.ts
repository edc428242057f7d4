/**
 * Waits for an entry behind those that the group has seen, in the streams that a consumer hands out of by claims: a blocking XREAD, which takes nothing. A consumer
 * that gets other shards waits on other streams, so the wait under way is ended (CLIENT UNBLOCK) and begun again.
 */
import type { Clock } from '../../clock.ts';
import type { RedisClient } from '../../redis/client.ts';
import { BlockingLink } from '../../redis/consuming.ts';
import { BLOCK_MS } from './reader.ts';

const RETRY_MS = 200;

export class ShardBell {
  readonly #link: BlockingLink;
  readonly #clock: Clock;
  readonly #rung: () => void;
  readonly #underWay = new Set<Promise<void>>();
  #streams = '';

  constructor(
    parts: { readonly bell: RedisClient; readonly client: RedisClient; readonly clock: Clock },
    rung: () => void,
  ) {
    this.#link = new BlockingLink(parts.bell, parts.client, parts.clock);
    this.#clock = parts.clock;
    this.#rung = rung;
  }

  /** Rings once: for an entry, when the time is over, or a little later when it cannot wait. While it waits on the same streams it goes on waiting. */
  listen(bells: readonly (readonly [stream: string, id: string])[]): void {
    if (bells.length === 0) return;
    const streams = bells.map(([stream]) => stream).join(' ');
    if (this.#underWay.size === 0) this.#wait(streams, bells);
    // The one under way ends with a ring, and after the claim that follows it is waited on these.
    else if (streams !== this.#streams) this.#link.release(this.#underWay).catch(() => {});
  }

  #wait(streams: string, bells: readonly (readonly [stream: string, id: string])[]): void {
    this.#streams = streams;
    const places = [...bells.map(([stream]) => stream), ...bells.map(([, id]) => id)];
    const waiting: Promise<void> = this.#link
      .send(['XREAD', 'COUNT', '1', 'BLOCK', String(BLOCK_MS), 'STREAMS', ...places])
      .then(
        () => this.#rung(),
        () => void this.#clock.setTimer(RETRY_MS, this.#rung),
      )
      .finally(() => this.#underWay.delete(waiting));
    this.#underWay.add(waiting);
  }
}
