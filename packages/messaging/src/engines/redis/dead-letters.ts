/**
 * Dead letters: one hash of JSON texts in the order of parking, for all channels. Filters are applied here, page by page, so that looking
 * through many does not stop the server; moving the found ones is one script.
 */
import { encodeReceived } from '../../cloud-event.ts';
import { isMeant } from '../../dead-letter-filter.ts';
import type { DeadLetterFilter, DeadLetterRecord, DeadLetterStore, FailureRecord } from '../../engine.ts';
import type { Message } from '../../message.ts';
import type { RedisClient } from '../../redis/client.ts';
import type { StreamScripts } from './scripts.ts';

interface StoredLetter {
  readonly id: string;
  readonly channel: string;
  readonly subscription: string;
  readonly messageId: string;
  readonly key?: string;
  readonly reason: string;
  readonly group: string;
  readonly at: number;
  /** JSON of its own, because Lua cannot tell an empty list from an empty object. */
  readonly history: string;
  readonly body: string;
}

type Moved = Promise<{ readonly moved: number; readonly remaining: number }>;

const PAGE = 200;

export class RedisDeadLetters implements DeadLetterStore {
  readonly #client: RedisClient;
  readonly #scripts: StreamScripts;

  constructor(client: RedisClient, scripts: StreamScripts) {
    this.#client = client;
    this.#scripts = scripts;
  }

  async list(
    filter: DeadLetterFilter,
    page: { readonly limit: number; readonly after?: string },
  ): Promise<readonly DeadLetterRecord[]> {
    const found: DeadLetterRecord[] = [];
    for await (const letter of this.#matching(filter, page.after)) {
      if (found.length >= page.limit) break;
      found.push(recordOf(letter));
    }
    return found;
  }

  async redrive(filter: DeadLetterFilter, limit: number): Moved {
    const ids = await this.#idsOf(filter, limit);
    if (ids.length === 0) return { moved: 0, remaining: limit < 1 ? await this.#count(filter) : 0 };
    const [moved = 0, stuck = 0] = (await this.#scripts.run('redrive', ids)) as readonly number[];
    return { moved, remaining: Math.max(0, (await this.#count(filter)) - stuck) };
  }

  async discard(filter: DeadLetterFilter, limit: number): Moved {
    const ids = await this.#idsOf(filter, limit);
    if (ids.length === 0) return { moved: 0, remaining: limit < 1 ? await this.#count(filter) : 0 };
    const moved = (await this.#scripts.run('discard', ids)) as number;
    return { moved, remaining: await this.#count(filter) };
  }

  async redriveEdited(id: string, message: Message, state: string): Promise<boolean> {
    const expiry = message.expiresAt === undefined ? '' : Date.parse(message.expiresAt);
    const args = [id, encodeReceived(message), message.key ?? '', expiry, state];
    return (await this.#scripts.run('redriveEdited', args)) === 1;
  }

  async #idsOf(filter: DeadLetterFilter, limit: number): Promise<readonly string[]> {
    const ids: string[] = [];
    for await (const { id } of this.#matching(filter)) {
      if (ids.length >= limit) break;
      ids.push(id);
    }
    return ids;
  }

  async #count(filter: DeadLetterFilter): Promise<number> {
    if (Object.values(filter).every((one) => one === undefined))
      return (await this.#client.send(['ZCARD', this.#key('dead')])) as number;
    let count = 0;
    for await (const _ of this.#matching(filter)) count += 1;
    return count;
  }

  async *#matching(filter: DeadLetterFilter, after?: string): AsyncGenerator<StoredLetter> {
    let last = after === undefined ? null : await this.#client.send(['ZSCORE', this.#key('dead'), after]);
    for (;;) {
      const from = last === null ? '-inf' : `(${String(last)}`;
      const page = (await this.#client.send([
        'ZRANGEBYSCORE',
        this.#key('dead'),
        from,
        '+inf',
        'WITHSCORES',
        'LIMIT',
        '0',
        String(PAGE),
      ])) as readonly string[];
      if (page.length === 0) return;
      last = page.at(-1) as string;
      const ids = page.filter((_, index) => index % 2 === 0);
      const texts = (await this.#client.send(['HMGET', this.#key('letters'), ...ids])) as readonly (
        | string
        | null
      )[];
      for (const text of texts) {
        // Moved between the two reads.
        if (text === null) continue;
        const letter = JSON.parse(text) as StoredLetter;
        if (isMeant({ ...letter, key: letter.key, parkedAt: letter.at }, filter)) yield letter;
      }
    }
  }

  #key(name: string): string {
    return `${this.#scripts.prefix}:${name}`;
  }
}

function recordOf(letter: StoredLetter): DeadLetterRecord {
  return {
    id: letter.id,
    channel: letter.channel,
    subscription: letter.subscription,
    messageId: letter.messageId,
    key: letter.key,
    reason: letter.reason,
    group: letter.group,
    parkedAt: letter.at,
    history: JSON.parse(letter.history) as FailureRecord[],
    raw: letter.body,
  };
}
