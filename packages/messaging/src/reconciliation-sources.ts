/**
 * The ports of reconciliation: what a producer says it recorded, what a consumer says it has settled, and what the engine still holds. `stores/` has the
 * first two for the outbox and inbox tables; whoever keeps such records elsewhere (a ledger, a search index) writes a source of their own.
 *
 * Everything is asked in pages and by ids, so that two sources may lie in different databases and no check costs more than what it looks at.
 */
import type { DeadLetters } from './dead-letter-desk.ts';
import type { ChannelView, OutgoingMessage } from './engine.ts';

/** `from` is in, `to` is not; ms since the epoch. */
export interface TimeWindow {
  readonly from: number;
  readonly to: number;
}

export interface PageRequest {
  /** The `next` of the page before. */
  readonly after: string | undefined;
  readonly limit: number;
}

export interface Page<T> {
  readonly items: readonly T[];
  /** Undefined at the end. */
  readonly next: string | undefined;
}

/**
 * `unpublished`: not sent yet. `waiting`: sent later, behind an earlier one of its key. `parked`: refused for good, a person decides. `discarded`: a person
 * decided that it is never sent. `published`: the engine has confirmed it.
 */
export type RecordedState = 'unpublished' | 'waiting' | 'parked' | 'discarded' | 'published';

export interface RecordedMessage {
  readonly id: string;
  readonly channel: string;
  readonly key: string | undefined;
  /** ms since the epoch, of the message. */
  readonly recordedAt: number;
  readonly state: RecordedState;
  /** Published by this time, ms since the epoch, and perhaps long before: when it was noted. Undefined when that is not known. */
  readonly publishedAt: number | undefined;
  /** Why it waits or is parked, or what holds back one that is not sent yet. */
  readonly reason: string | undefined;
  /** What a repair publishes again; undefined when the stored text cannot be read. */
  readonly outgoing: OutgoingMessage | undefined;
}

/** What was recorded by a producer. */
export interface RecordedSource {
  readonly name: string;
  /** Recorded in the window, in an order that does not change while it is read. */
  page(window: TimeWindow, page: PageRequest): Promise<Page<RecordedMessage>>;
  /** Which of these ids are recorded here. */
  recorded(ids: readonly string[]): Promise<ReadonlySet<string>>;
  /** Everything recorded from this time on is still here; ms since the epoch, 0 when nothing was ever purged. */
  keptSince(): Promise<number>;
}

export interface SettledMessage {
  readonly id: string;
  /** ms since the epoch. */
  readonly settledAt: number;
}

/** What one subscription has settled. */
export interface SettledSource {
  readonly subscription: string;
  /** The channels whose messages it is to settle. */
  readonly channels: readonly string[];
  /** On channels with routing: whether this message is meant for it. Default: all are. */
  readonly takes?: (message: RecordedMessage) => boolean;
  /**
   * It is not expected to have settled what was recorded before, ms since the epoch: for a subscription that joined late. A repair, which would reach it, too, leaves to a person what another one
   * lost of that.
   */
  readonly since?: number;
  page(window: TimeWindow, page: PageRequest): Promise<Page<SettledMessage>>;
  settled(ids: readonly string[]): Promise<ReadonlySet<string>>;
  /** Everything settled from this time on is still known; ms since the epoch, 0 when nothing was ever forgotten. */
  keptSince(): Promise<number>;
}

/** What the engine still holds. A bus is one, and so is anything that answers for it from another process. */
export interface EngineSight {
  readonly deadLetters: Pick<DeadLetters, 'list'>;
  view(): Promise<{ readonly channels: readonly ChannelView[]; readonly showsAll?: boolean }>;
}
