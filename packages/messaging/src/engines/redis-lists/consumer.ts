/**
 * A consumer of one list. A claim takes what was given back, then what is new, up to the room there is; when there is nothing it waits with BLMOVE, which
 * moves one text into this consumer's own list and so loses nothing when the process dies at that moment. A claim comes every second at the
 * latest, because it is also how others see that this consumer is alive.
 */
import type { Clock } from '../../clock.ts';
import type {
  Consumer,
  ConsumerSpec,
  Delivery,
  DeliveryToken,
  Letter,
  Settlement,
  SettleResult,
} from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import type { Message } from '../../message.ts';
import type { RedisClient } from '../../redis/client.ts';
import {
  BlockingLink,
  hasExpired,
  LeasedTokens,
  leaseEndAfter,
  leaveQuietly,
  NextLook,
  settlementArguments,
} from '../../redis/consuming.ts';
import type { ListsScripts } from './scripts.ts';

export interface ListsConsumerParts {
  readonly scripts: ListsScripts;
  readonly client: RedisClient;
  /** A connection of this consumer's own, for the blocking move. */
  readonly blocking: RedisClient;
  readonly clock: Clock;
  readonly list: string;
  /** The message in a text with its number; throws when there is none. */
  readonly read: (text: string, number: number) => Message;
  readonly declareAgain: () => Promise<void>;
  readonly left: (consumer: ListsConsumer) => void;
}

type Given = readonly (string | number | null)[];
type ClaimReply = readonly [given: Given, untilNext: number] | null;

const BEAT_MS = 1_000;
/** A move that finds nothing waits at most so long. */
export const BLOCK_MS = 1_000;
const RETRY_MS = 200;

export class ListsConsumer implements Consumer {
  readonly name: string;
  readonly spec: ConsumerSpec;
  readonly #receive: (deliveries: readonly Delivery[]) => void;
  readonly #parts: ListsConsumerParts;
  readonly #held = new LeasedTokens();
  readonly #link: BlockingLink;
  readonly #nextLook: NextLook;
  #claiming: Promise<void> | undefined;
  #wanted = true;
  /** The move that is under way, if there is one. */
  readonly #waiting = new Set<Promise<void>>();
  /** A move may have brought what never came here. */
  #answerLost = false;
  #paused = false;
  #closing: Promise<void> | undefined;

  constructor(
    name: string,
    spec: ConsumerSpec,
    receive: (deliveries: readonly Delivery[]) => void,
    parts: ListsConsumerParts,
  ) {
    this.name = name;
    this.spec = spec;
    this.#receive = receive;
    this.#parts = parts;
    this.#link = new BlockingLink(parts.blocking, parts.client, parts.clock);
    this.#nextLook = new NextLook(parts.clock, BEAT_MS, () => this.look());
  }

  look(): void {
    this.#wanted = true;
    if (this.#paused || this.#claiming) return;
    this.#wanted = false;
    this.#claiming = this.#claim().finally(() => {
      this.#claiming = undefined;
      if (this.#wanted) this.look();
    });
  }

  async settle(settlements: readonly Settlement[]): Promise<readonly SettleResult[]> {
    this.#refuseClosed();
    const now = this.#parts.clock.now();
    const args = settlements.flatMap((one) =>
      settlementArguments(one, one.token as string, now, (letter) => this.#letterArguments(letter)),
    );
    const [results] = (await this.#parts.scripts.run('listsSettle', [this.spec.channel, ...args])) as [
      readonly number[],
      number,
    ];
    for (const { token } of settlements) this.#held.remove(token as string);
    this.look();
    return results.map((one) => (one === 1 ? 'settled' : 'lost'));
  }

  async extend(tokens: readonly DeliveryToken[]): Promise<readonly SettleResult[]> {
    this.#refuseClosed();
    const end = this.#leaseEnd();
    const { channel, leaseMs } = this.spec;
    const results = (await this.#parts.scripts.run('listsExtend', [
      channel,
      leaseMs,
      ...tokens,
    ])) as readonly number[];
    return tokens.map((token, index) => {
      if (results[index] !== 1) {
        this.#held.remove(token as string);
        return 'lost';
      }
      this.#held.extend(token as string, end);
      return 'settled';
    });
  }

  /** What a move brings while it ends is given back by leaving, or by the next claim of anybody once this one is gone. */
  async pause(): Promise<void> {
    this.#paused = true;
    this.#nextLook.cancel();
    await this.#claiming;
    await this.#link.end(this.#waiting);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.pause();
    this.#parts.blocking.end();
    this.#parts.left(this);
    this.#held.clear();
    await leaveQuietly(this.#parts.scripts.run('listsTidy', [this.spec.channel, this.name, 1]));
  }

  #refuseClosed(): void {
    if (this.#closing) throw new MessagingError('DB_MSG_STOPPED', 'the consumer has been closed');
  }

  async #claim(): Promise<void> {
    this.#nextLook.cancel();
    const { channel, leaseMs } = this.spec;
    try {
      if (this.#answerLost && this.#waiting.size === 0) {
        await this.#parts.scripts.run('listsTidy', [channel, this.name, 0]);
        this.#answerLost = false;
      }
      const room = Math.max(0, this.#room() - this.#waiting.size);
      const end = this.#leaseEnd();
      const reply = (await this.#parts.scripts.run('listsClaim', [
        channel,
        this.name,
        room,
        leaseMs,
      ])) as ClaimReply;
      if (reply === null) await this.#parts.declareAgain();
      else this.#take(this.#deliveriesOf(reply[0]), end);
      this.#plan(reply === null ? RETRY_MS : reply[1]);
      const count = reply === null ? room : reply[0].length / 5;
      if (count < room) this.#wait();
      else if (room > 0 && this.#room() > 0) this.#wanted = true;
    } catch {
      this.#plan(RETRY_MS);
    }
  }

  /** One text, moved as soon as there is one; then there may be more. */
  #wait(): void {
    if (this.#waiting.size > 0 || this.#paused || this.#answerLost || this.#room() < 1) return;
    const moving = this.#move().finally(() => {
      this.#waiting.delete(moving);
      // Refused where scripts are not (its own connection, the memory of the server, a permission), it would be refused again at once.
      if (this.#answerLost) this.#plan(RETRY_MS);
      else this.look();
    });
    this.#waiting.add(moving);
  }

  async #move(): Promise<void> {
    const { scripts, list } = this.#parts;
    const { channel, leaseMs } = this.spec;
    const taken = `${scripts.prefix}:lists:${channel}:taken:${this.name}`;
    try {
      const text = await this.#link.send(['BLMOVE', list, taken, 'RIGHT', 'LEFT', String(BLOCK_MS / 1_000)]);
      if (typeof text !== 'string') return;
      const end = this.#leaseEnd();
      const adopted = (await scripts.run('listsAdopt', [channel, this.name, text, leaseMs])) as
        | readonly [string, number]
        | null;
      if (adopted !== null) this.#take(this.#deliveriesOf([adopted[0], text, null, 0, adopted[1]]), end);
    } catch {
      this.#answerLost = true;
    }
  }

  #take(deliveries: readonly Delivery[], end: number): void {
    for (const { token } of deliveries) this.#held.add(token as string, end);
    const now = this.#parts.clock.now();
    const expired = deliveries.filter(({ message }) => hasExpired(message, now));
    const rest = deliveries.filter(({ message }) => !hasExpired(message, now));
    if (expired.length > 0) void this.#drop(expired);
    if (rest.length > 0 && this.#paused) void this.#giveBack(rest);
    else if (rest.length > 0) this.#receive(rest);
  }

  #drop(expired: readonly Delivery[]): Promise<void> {
    return this.#settleQuietly('x', expired);
  }

  #giveBack(deliveries: readonly Delivery[]): Promise<void> {
    return this.#settleQuietly('l', deliveries);
  }

  async #settleQuietly(letter: 'l' | 'x', deliveries: readonly Delivery[]): Promise<void> {
    const args = deliveries.flatMap(({ token }) => [letter, token]);
    // What is not settled now comes again when its lease ends.
    await this.#parts.scripts.run('listsSettle', [this.spec.channel, ...args]).catch(() => {});
    for (const { token } of deliveries) this.#held.remove(token as string);
    this.look();
  }

  #plan(ms: number): void {
    if (!this.#paused) this.#nextLook.plan(ms);
  }

  #room(): number {
    if (this.#held.size >= this.spec.prefetch) this.#held.removeEnded(this.#parts.clock.monotonic());
    return Math.max(0, this.spec.prefetch - this.#held.size);
  }

  #leaseEnd(): number {
    return leaseEndAfter(this.#parts.clock, this.spec.leaseMs);
  }

  #deliveriesOf(given: Given): Delivery[] {
    const deliveries: Delivery[] = [];
    for (let index = 0; index + 4 < given.length; index += 5) {
      const raw = given[index + 1] as string;
      const common = {
        token: given[index] as string,
        raw,
        state: (given[index + 2] as string | null) ?? undefined,
        abandoned: given[index + 3] as number,
      };
      try {
        deliveries.push({ ...common, message: this.#parts.read(raw, given[index + 4] as number) });
      } catch (error) {
        deliveries.push({ ...common, message: undefined, malformed: (error as Error).message });
      }
    }
    return deliveries;
  }

  #letterArguments(letter: Letter): readonly string[] {
    const { channel, subscription } = this.spec;
    const { id, reason, group, at, history, stateOnRedrive: state } = letter;
    // History as a text of its own, because Lua cannot tell an empty list from an empty object.
    const text = JSON.stringify({
      id,
      channel,
      subscription,
      reason,
      group,
      at,
      history: JSON.stringify(history),
      state,
    });
    return [text, group];
  }
}
