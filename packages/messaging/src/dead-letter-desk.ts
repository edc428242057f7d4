/**
 * What a person does with dead letters, above the engine's store: by filter, in steps that can be resumed, and with a corrected message in the
 * place of one that can never work.
 */
import { createHash } from 'node:crypto';
import type { AttemptState } from './attempts.ts';
import type { Channel } from './channel.ts';
import type { ChannelView, DeadLetterFilter, DeadLetterRecord, DeadLetterStore } from './engine.ts';
import { decodeCloudEvent, encodeReceived } from './cloud-event.ts';
import type { DecisionLog } from './dead-letter-decisions.ts';
import { refuseBadFilter, refuseBadLimit } from './dead-letter-filter.ts';
import { MessagingError } from './errors.ts';
import type { Message } from './message.ts';
import { NotedDiscard } from './noted-discard.ts';
import { makeMessage, type MessageParts } from './outgoing.ts';

export interface DeadLetterMove {
  readonly moved: number;
  /** Of those that were parked when the work began. */
  readonly remaining: number;
}

export interface DeadLetterMoveOptions {
  /** A whole number; all without it. */
  readonly limit?: number;
  /** Told after each step of at most 200. */
  readonly onProgress?: (soFar: DeadLetterMove) => void;
  /** Aborting ends the work after the step under way; what was moved stays moved. */
  readonly signal?: AbortSignal;
}

export interface DeadLetterGroup {
  readonly channel: string;
  readonly subscription: string;
  readonly group: string;
  readonly count: number;
}

export interface DeadLetters {
  /** By cause, the largest first. */
  groups(): Promise<readonly DeadLetterGroup[]>;
  /**
   * Oldest first. `after` is the id of the last one seen. One that is gone the embedded engine refuses (DB_MSG_INVALID_OPTIONS); on others the list begins anew
   * or ends, so page without moving.
   */
  list(
    filter?: DeadLetterFilter,
    page?: { readonly limit?: number; readonly after?: string },
  ): Promise<readonly DeadLetterRecord[]>;
  /**
   * Redrives in steps until nothing matches or `limit` is reached; safe to call again after a crash or an abort. Without `before` in the filter it
   * is the time of the call, so that what fails again meanwhile is not redriven for ever.
   */
  redrive(filter: DeadLetterFilter, options?: DeadLetterMoveOptions): Promise<DeadLetterMove>;
  /** Forgets them in the same steps, and the same way without `before`: what comes meanwhile nobody has seen, and it stays. */
  discard(filter: DeadLetterFilter, options?: DeadLetterMoveOptions): Promise<DeadLetterMove>;
  /**
   * A new message with this data takes the place of the letter, in its subscription only. It keeps key, correlation and headers; its
   * `causationId` is the message it replaces, where that had an id; its header `redriveof` the letter. Resolves to its id, or undefined when the letter was gone.
   * The id is made of the letter's and the data: the same edit done twice, or by two processes at once, has one id, which an inbox knows again.
   */
  redriveEdited(letter: DeadLetterRecord, data: unknown): Promise<string | undefined>;
}

export interface DeadLetterDeskParts {
  readonly store: () => DeadLetterStore;
  readonly view: () => Promise<readonly ChannelView[]>;
  readonly channel: (name: string) => Channel | undefined;
  readonly message: MessageParts;
  /** ms since the epoch, of the clock by which letters are parked. */
  readonly now: () => number;
  /** Where discards and edits are noted before they are done. */
  readonly decisions: () => Promise<DecisionLog | undefined>;
}

const STEP = 200;
const DEFAULT_PAGE = 100;

export class DeadLetterDesk implements DeadLetters {
  readonly #parts: DeadLetterDeskParts;

  constructor(parts: DeadLetterDeskParts) {
    this.#parts = parts;
  }

  async groups(): Promise<readonly DeadLetterGroup[]> {
    const channels = await this.#parts.view();
    return channels
      .flatMap(({ name: channel, subscriptions }) =>
        subscriptions.flatMap(({ name: subscription, deadLetters }) =>
          deadLetters.map(({ group, count }) => ({ channel, subscription, group, count })),
        ),
      )
      .toSorted((a, b) => b.count - a.count);
  }

  async list(
    filter: DeadLetterFilter = {},
    page: { readonly limit?: number; readonly after?: string } = {},
  ): Promise<readonly DeadLetterRecord[]> {
    const { after } = page;
    refuseBadFilter(filter);
    if (page.limit !== undefined) refuseBadLimit(page.limit);
    if (after !== undefined && typeof after !== 'string')
      throw new MessagingError('DB_MSG_INVALID_OPTIONS', '`after` is the id of a dead letter');
    return this.#parts
      .store()
      .list(filter, { limit: page.limit ?? DEFAULT_PAGE, ...(after === undefined ? {} : { after }) });
  }

  async redrive(filter: DeadLetterFilter, options: DeadLetterMoveOptions = {}): Promise<DeadLetterMove> {
    refuseBadFilter(filter);
    const store = this.#parts.store();
    const bounded = this.#parkedUntilNow(filter);
    return inSteps(options, (step) => store.redrive(bounded, step));
  }

  async discard(filter: DeadLetterFilter, options: DeadLetterMoveOptions = {}): Promise<DeadLetterMove> {
    refuseBadFilter(filter);
    const store = this.#parts.store();
    const bounded = this.#parkedUntilNow(filter);
    const log = await this.#parts.decisions();
    if (!log) return inSteps(options, (step) => store.discard(bounded, step));
    const noted = new NotedDiscard(store, log, bounded);
    return inSteps(options, (step, left) => noted.step(step, left, this.#parts.now()));
  }

  /** Those of this very millisecond are meant too. */
  #parkedUntilNow(filter: DeadLetterFilter): DeadLetterFilter {
    return { ...filter, before: filter.before ?? this.#parts.now() + 1 };
  }

  async redriveEdited(letter: DeadLetterRecord, data: unknown): Promise<string | undefined> {
    const channel = this.#parts.channel(letter.channel);
    if (!channel)
      throw new MessagingError(
        'DB_MSG_UNKNOWN_CHANNEL',
        `channel "${letter.channel}" is not declared on this bus, so its contract is not known`,
      );
    if (typeof letter.id !== 'string')
      throw new MessagingError('DB_MSG_INVALID_OPTIONS', 'the id of a dead letter is a text');
    const made = await this.#replacement(channel, letter, data);
    const message = { ...made, id: idOfEdit(letter, made) };
    const state: AttemptState = {
      attempts: 0,
      abandoned: 0,
      redrives: 1,
      redriveOf: letter.id,
      history: letter.history,
    };
    await this.#noteEdit(letter, message.id);
    const isThere = await this.#parts.store().redriveEdited(letter.id, message, JSON.stringify(state));
    return isThere ? message.id : undefined;
  }

  /** Of a letter that is still there: what was redriven meanwhile may be lost later, and nobody has decided about it. */
  async #noteEdit({ id, channel, subscription, messageId }: DeadLetterRecord, by: string): Promise<void> {
    const log = messageId === '' ? undefined : await this.#parts.decisions();
    if (!log) return;
    const there = await this.#parts
      .store()
      .list({ channel, subscription, messageIds: [messageId] }, { limit: 1_000 });
    if (!there.some((one) => one.id === id)) return;
    await log.note([
      { kind: 'replaced', channel, subscription, messageId, replacedBy: by, at: this.#parts.now() },
    ]);
  }

  async #replacement(channel: Channel, letter: DeadLetterRecord, data: unknown): Promise<Message> {
    const original = originalOf(letter);
    const { correlationId, traceparent, routingKey } = original;
    const key = original.key || letter.key;
    const made = await makeMessage(this.#parts.message, channel, data, {
      // What is malformed may have no id, or an empty one, and the same of the others: no message may carry that.
      ...(letter.messageId ? { causationId: letter.messageId.toWellFormed() } : {}),
      ...(key ? { key: key.toWellFormed() } : {}),
      ...(correlationId ? { correlationId: correlationId.toWellFormed() } : {}),
      ...(traceparent ? { traceparent: traceparent.toWellFormed() } : {}),
      ...(routingKey === undefined ? {} : { routingKey: routingKey.toWellFormed() }),
    });
    // What came with a name that makers are refused stays.
    return { ...made, headers: { ...original.headers, redriveof: letter.id } };
  }
}

/** UUIDv8 (RFC 9562) of the letter and the encoded data, so that a repeat is known again. Never used for order. */
function idOfEdit({ id, channel, subscription }: DeadLetterRecord, message: Message): string {
  // What differs between two processes that do the same stays out.
  const same = encodeReceived({ ...message, id: 'x', time: '', source: '-' });
  const hash = createHash('sha256')
    .update(JSON.stringify([channel, subscription, id, same]))
    .digest();
  hash[6] = 0x80 | ((hash[6] as number) & 0x0f);
  hash[8] = 0x80 | ((hash[8] as number) & 0x3f);
  return hash.toString('hex', 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

/** What a malformed letter holds cannot be kept; that is often why it is edited. */
function originalOf({ raw }: DeadLetterRecord): Partial<Message> {
  try {
    return decodeCloudEvent(raw);
  } catch {
    return {};
  }
}

async function inSteps(
  { limit = Number.POSITIVE_INFINITY, onProgress, signal }: DeadLetterMoveOptions,
  /** `left`: so many in this step and all to come. `goesOn`: that nothing was moved is no sign that nothing can be. */
  step: (limit: number, left: number) => Promise<DeadLetterMove & { readonly goesOn?: boolean }>,
): Promise<DeadLetterMove> {
  if (limit !== Number.POSITIVE_INFINITY) refuseBadLimit(limit);
  let moved = 0;
  for (;;) {
    const done = await step(Math.min(STEP, limit - moved), limit - moved);
    moved += done.moved;
    const soFar = { moved, remaining: done.remaining };
    onProgress?.(soFar);
    const isStuck = done.moved === 0 && !done.goesOn;
    if (isStuck || done.remaining === 0 || moved >= limit || signal?.aborted) return soFar;
  }
}
