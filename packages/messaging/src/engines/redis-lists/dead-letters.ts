/**
 * Dead letters of the engine on lists: one list of JSON texts for all channels, the oldest first, as people find it with LRANGE. Filters are applied here;
 * a letter is moved by its whole text, so two who move the same one do it once.
 */
import { encodeReceived } from '../../cloud-event.ts';
import { isMeant } from '../../dead-letter-filter.ts';
import type { DeadLetterFilter, DeadLetterRecord, DeadLetterStore, FailureRecord } from '../../engine.ts';
import type { Message } from '../../message.ts';
import type { RedisClient } from '../../redis/client.ts';
import type { ListsScripts } from './scripts.ts';

export interface ListsDeadLetterParts {
  readonly client: RedisClient;
  readonly scripts: ListsScripts;
  readonly read: (channel: string, text: string, number: number) => Message;
  /** A subscription of the channel has something to hand out. */
  readonly ring: (channel: string) => void;
}

interface StoredLetter {
  readonly id: string;
  readonly channel: string;
  readonly subscription: string;
  readonly reason: string;
  readonly group: string;
  readonly at: number;
  readonly history: string;
  readonly state: string;
  readonly body: string;
  readonly n: number;
}

interface Found {
  readonly text: string;
  readonly letter: StoredLetter;
  readonly record: DeadLetterRecord;
}

type Moved = Promise<{ readonly moved: number; readonly remaining: number }>;

const PAGE = 200;

export class ListsDeadLetters implements DeadLetterStore {
  readonly #parts: ListsDeadLetterParts;

  constructor(parts: ListsDeadLetterParts) {
    this.#parts = parts;
  }

  async list(
    filter: DeadLetterFilter,
    { limit, after }: { readonly limit: number; readonly after?: string },
  ): Promise<readonly DeadLetterRecord[]> {
    const records: DeadLetterRecord[] = [];
    let isAfter = after === undefined;
    for await (const { record } of this.#all()) {
      if (records.length >= limit) break;
      if (isAfter && isMeant(record, filter)) records.push(record);
      isAfter ||= record.id === after;
    }
    return records;
  }

  redrive(filter: DeadLetterFilter, limit: number): Moved {
    return this.#move(filter, limit, ({ body, state }) => [body, state]);
  }

  discard(filter: DeadLetterFilter, limit: number): Moved {
    return this.#move(filter, limit, () => ['', '']);
  }

  async redriveEdited(id: string, message: Message, state: string): Promise<boolean> {
    for await (const found of this.#all())
      if (found.letter.id === id) return (await this.#unpark(found, encodeReceived(message), state)) === 1;
    return false;
  }

  async #move(
    filter: DeadLetterFilter,
    limit: number,
    back: (letter: StoredLetter) => readonly [text: string, state: string],
  ): Moved {
    const meant: Found[] = [];
    for await (const found of this.#all()) if (isMeant(found.record, filter)) meant.push(found);
    let moved = 0;
    for (const found of meant.slice(0, limit)) moved += await this.#unpark(found, ...back(found.letter));
    return { moved, remaining: meant.length - Math.min(meant.length, limit) };
  }

  async #unpark({ text, letter }: Found, body: string, state: string): Promise<number> {
    const { channel, group } = letter;
    const moved = await this.#parts.scripts.run('listsUnpark', [channel, text, group, body, state]);
    this.#parts.ring(channel);
    return moved as number;
  }

  async *#all(): AsyncGenerator<Found> {
    const key = `${this.#parts.scripts.prefix}:lists:dead`;
    for (let from = 0; ; from += PAGE) {
      const page = (await this.#parts.client.send([
        'LRANGE',
        key,
        String(from),
        String(from + PAGE - 1),
      ])) as readonly string[];
      for (const text of page) {
        const letter = JSON.parse(text) as StoredLetter;
        yield { text, letter, record: this.#recordOf(letter) };
      }
      if (page.length < PAGE) return;
    }
  }

  #recordOf({
    id,
    channel,
    subscription,
    reason,
    group,
    at,
    history,
    body,
    n,
  }: StoredLetter): DeadLetterRecord {
    const message = this.#messageIn(channel, body, n);
    return {
      id,
      channel,
      subscription,
      messageId: message?.id ?? '',
      key: message?.key,
      reason,
      group,
      parkedAt: at,
      history: JSON.parse(history) as FailureRecord[],
      raw: body,
    };
  }

  #messageIn(channel: string, body: string, number: number): Message | undefined {
    try {
      return this.#parts.read(channel, body, number);
    } catch {
      return undefined;
    }
  }
}
