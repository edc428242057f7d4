/**
 * Reads what is new on a plain channel by XREADGROUP, on a connection of its own because the command blocks when there is nothing. While there is a backlog no
 * read blocks, and what is acknowledged goes over the same connection. Knows nothing of leases and settlements: it says what came and what room it has
 * reserved for what may come.
 *
 *   blocking, one at a time  --as many came as were asked for-->  backlog, two at a time, none blocks  --fewer came-->  blocking
 */
import type { Clock } from '../../clock.ts';
import type { RedisClient } from '../../redis/client.ts';
import { BlockingLink } from '../../redis/consuming.ts';

export type Entry = readonly [id: string, fields: readonly string[]];

type Sender = Pick<RedisClient, 'send'>;

export interface ReaderParts {
  /** Blocks; of this reader alone. */
  readonly blocking: RedisClient;
  /** Ends a read that blocks. */
  readonly client: Sender;
  readonly clock: Clock;
  readonly stream: string;
  readonly group: string;
  readonly consumer: string;
  /** Entries per read, so that two are under way while there is a backlog. */
  readonly most: number;
  /** `askedAt` is the monotonic time before which none of them was read. */
  readonly take: (entries: readonly Entry[], askedAt: number) => void;
  /** A read failed: what it was lent, if it was, never came here. */
  readonly failed: () => void;
}

/** A read that finds nothing waits at most so long. */
export const BLOCK_MS = 5_000;

type ReadReply = readonly [readonly [stream: string, entries: readonly Entry[]]] | null;

export class StreamReader {
  readonly #parts: ReaderParts;
  readonly #link: BlockingLink;
  readonly #underWay = new Set<Promise<void>>();
  readonly #beside = new Set<Promise<void>>();
  /** Reads under way that may block. */
  #blocking = 0;
  #reserved = 0;
  #turns: Promise<void> = Promise.resolve();
  #backlog = false;
  #stopped = false;

  constructor(parts: ReaderParts) {
    this.#parts = parts;
    this.#link = new BlockingLink(parts.blocking, parts.client, parts.clock);
  }

  /** Room that reads under way may fill. */
  get reserved(): number {
    return this.#reserved;
  }

  /** Starts what reads there is room for; `room` counts what is reserved too. */
  read(room: number): void {
    const atOnce = this.#backlog ? 2 : 1;
    while (!this.#stopped && this.#underWay.size < atOnce && room > this.#reserved) {
      const reading = this.#read(Math.min(this.#parts.most, room - this.#reserved));
      this.#underWay.add(reading);
      void reading.then(() => {
        this.#underWay.delete(reading);
        this.#parts.take([], 0);
      });
    }
  }

  async #read(count: number): Promise<void> {
    const askedAt = this.#parts.clock.monotonic();
    this.#reserved += count;
    try {
      const entries = await this.#ask(count, !this.#backlog);
      this.#backlog = entries.length === count;
      if (entries.length > 0) await this.#turn();
      this.#reserved -= count;
      if (entries.length > 0) this.#parts.take(entries, askedAt);
    } catch {
      this.#reserved -= count;
      this.#backlog = false;
      this.#parts.failed();
    }
  }

  async #ask(count: number, mayBlock: boolean): Promise<readonly Entry[]> {
    const { stream, group, consumer } = this.#parts;
    const block = mayBlock ? ['BLOCK', String(BLOCK_MS)] : [];
    const args = ['XREADGROUP', 'GROUP', group, consumer, 'COUNT', String(count), ...block];
    if (mayBlock) this.#blocking += 1;
    try {
      const reply = (await this.#link.send([...args, 'STREAMS', stream, '>'])) as ReadReply;
      return reply?.[0][1] ?? [];
    } finally {
      if (mayBlock) this.#blocking -= 1;
    }
  }

  /**
   * Runs what does not block: on the connection of the reads while none of them may block there, so that an acknowledgement and the read into the room that it makes
   * leave in one write and are answered in one; else on the other connection, because the server does nothing for a connection that blocks.
   */
  beside<T>(run: (client: Sender) => Promise<T>): Promise<T> {
    if (this.#blocking > 0 || this.#stopped) return run(this.#parts.client);
    const running = run(this.#parts.blocking);
    const ended = running.then(
      () => void this.#beside.delete(ended),
      () => void this.#beside.delete(ended),
    );
    this.#beside.add(ended);
    return running;
  }

  /**
   * One read's entries a turn of the event loop: answers often come together, and what is settled of the first goes out, and is worked on by the
   * server, while the second is handled.
   */
  async #turn(): Promise<void> {
    const before = this.#turns;
    this.#turns = before.then(
      () => new Promise<void>((resolve) => setImmediate(() => setImmediate(() => resolve()))),
    );
    await before;
  }

  /** Ends reads that block, so that their room is free; what has come with them is taken as ever. What ran beside them has been answered too. */
  async release(): Promise<void> {
    await this.#link.release(this.#underWay);
    await Promise.all(this.#beside);
  }

  /** Nothing is under way afterwards. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#link.end(this.#underWay, this.#beside);
  }
}
