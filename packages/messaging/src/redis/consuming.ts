/**
 * What the consumers of streams and of lists do alike: until when leases surely last, when to look next, a command that blocks and is ended from outside,
 * and settlements as the arguments of a script. What they do not share is how a message is found.
 */
import { type CancelTimer, type Clock, pause } from '../clock.ts';
import type { Letter, Settlement } from '../engine.ts';
import { MessagingError } from '../errors.ts';
import type { Message } from '../message.ts';
import type { RedisClient } from './client.ts';

const RENEW_AFTER = 4_096;

/** Tokens with the monotonic time at which their lease is surely over, whatever the server's clock said when it lent them. */
export class LeasedTokens {
  #ends = new Map<string, number>();
  #removed = 0;

  get size(): number {
    return this.#ends.size;
  }

  add(token: string, end: number): void {
    this.#ends.set(token, end);
  }

  /** True when it was there. */
  remove(token: string): boolean {
    if (!this.#ends.delete(token)) return false;
    this.#removed += 1;
    if (this.#removed >= RENEW_AFTER) this.#renew();
    return true;
  }

  extend(token: string, end: number): void {
    if (this.#ends.has(token)) this.#ends.set(token, end);
  }

  /** Whoever holds hand-outs beyond their lease without asking is not stopped for ever by those that others took. */
  removeEnded(now: number): void {
    for (const token of this.ended(now)) this.remove(token);
  }

  /** Whose lease is surely over. */
  ended(now: number): readonly string[] {
    return [...this.#ends].flatMap(([token, end]) => (end < now ? [token] : []));
  }

  has(token: string): boolean {
    return this.#ends.has(token);
  }

  clear(): void {
    this.#ends.clear();
  }

  tokens(): readonly string[] {
    return [...this.#ends.keys()];
  }

  /**
   * A map that is written to without end leaves a chain of its former tables behind, and each garbage collection of young objects keeps all that
   * hangs on it. A new one now and then ends the chain.
   */
  #renew(): void {
    this.#removed = 0;
    this.#ends = new Map(this.#ends);
  }
}

/** Asked for with this lease just now, a hand-out is surely over by then; monotonic ms. */
export const leaseEndAfter = (clock: Clock, leaseMs: number): number => clock.monotonic() + 2 * leaseMs;

/** The one timer of a consumer: of several wishes the earliest counts. */
export class NextLook {
  readonly #clock: Clock;
  readonly #longestMs: number;
  readonly #look: () => void;
  #at = Number.POSITIVE_INFINITY;
  #cancel: CancelTimer = () => {};
  #isResting = false;

  /** Looked at least every `longestMs` by whoever plans anew after each look. */
  constructor(clock: Clock, longestMs: number, look: () => void) {
    this.#clock = clock;
    this.#longestMs = longestMs;
    this.#look = look;
  }

  /** Below 0: nothing is known to come. */
  plan(ms: number): void {
    const wait = ms < 0 ? this.#longestMs : Math.min(ms, this.#longestMs);
    const at = this.#clock.monotonic() + wait;
    if (at >= this.#at) return;
    this.#cancel();
    this.#at = at;
    this.#cancel = this.#clock.setTimer(wait, () => {
      this.#at = Number.POSITIVE_INFINITY;
      this.#isResting = false;
      this.#look();
    });
  }

  /**
   * After a look that failed: planned, and until then `isResting`. A server that is away refuses within the same turn of the event loop, so whoever looked again by itself would
   * never let the process see that it is back.
   */
  rest(ms: number): void {
    this.plan(ms);
    this.#isResting = true;
  }

  isResting(): boolean {
    return this.#isResting;
  }

  cancel(): void {
    this.#cancel();
    this.#at = Number.POSITIVE_INFINITY;
    this.#isResting = false;
  }
}

/** An UNBLOCK that came before its command is tried again after this time, ms. */
const UNBLOCK_AGAIN_MS = 5;

/** A connection of one consumer's own for a command that blocks, and another one to end it by. */
export class BlockingLink {
  readonly #blocking: RedisClient;
  readonly #client: Pick<RedisClient, 'send'>;
  readonly #clock: Clock;
  #connectionId: string | undefined;

  constructor(blocking: RedisClient, client: Pick<RedisClient, 'send'>, clock: Clock) {
    this.#blocking = blocking;
    this.#client = client;
    this.#clock = clock;
  }

  async send(args: readonly string[]): Promise<unknown> {
    try {
      this.#connectionId ??= String(await this.#blocking.send(['CLIENT', 'ID']));
      return await this.#blocking.send(args);
    } catch (error) {
      this.#connectionId = undefined;
      throw error;
    }
  }

  /** Ends commands that block until nothing of what uses them is under way; what has come with them is taken as ever. */
  async release(underWay: ReadonlySet<Promise<void>>): Promise<void> {
    while (underWay.size > 0) {
      const id = this.#connectionId;
      if (id !== undefined) await this.#client.send(['CLIENT', 'UNBLOCK', id]);
      await Promise.race([...underWay, pause(this.#clock, UNBLOCK_AGAIN_MS)]);
    }
  }

  /** The same for good, and with what does not block and is `beside` it on this connection. */
  async end(
    underWay: ReadonlySet<Promise<void>>,
    beside: ReadonlySet<Promise<void>> = new Set(),
  ): Promise<void> {
    const all = this.release(underWay).then(() => Promise.all(beside));
    if (await soonOver(this.#clock, all)) return;
    // Out of reach, standing still, or UNBLOCK is not allowed: they end with their connection.
    this.#blocking.end();
    await Promise.all([...underWay, ...beside]);
  }
}

/** As scripts get it: its letter, the name of the hand-out, and what belongs to it. Times go as lengths, because the server's clock measures them. */
export function settlementArguments(
  settlement: Settlement,
  name: string,
  now: number,
  letterArguments: (letter: Letter) => readonly (string | number)[],
): readonly (string | number)[] {
  switch (settlement.kind) {
    case 'ack':
      return ['a', name];
    case 'release':
      return ['l', name];
    case 'retry':
      return ['r', name, settlement.dueAt - now, settlement.state];
    case 'deadLetter':
      return ['d', name, ...letterArguments(settlement.letter)];
  }
}

export const hasExpired = (message: Message | undefined, now: number): boolean =>
  message?.expiresAt !== undefined && Date.parse(message.expiresAt) <= now;

/** A server that answers does so by then; one that stands still is waited for no longer by who leaves. */
const LONGEST_LEAVE_MS = 5_000;

/** Whether it resolves within that time. Never rejects. */
export async function soonOver(clock: Clock, leaving: Promise<unknown>): Promise<boolean> {
  const over = new AbortController();
  let isDone = false;
  leaving
    .then(
      () => {
        isDone = true;
      },
      () => {},
    )
    .finally(() => over.abort());
  await pause(clock, LONGEST_LEAVE_MS, over.signal);
  return isDone;
}

/** Leaving does not fail because the server is out of reach: others find out who is gone by the beat that is missing, or when leases end. */
export async function leaveQuietly(leaving: Promise<unknown>): Promise<void> {
  try {
    await leaving;
  } catch (error) {
    if (!(error instanceof MessagingError && error.retryable)) throw error;
  }
}
