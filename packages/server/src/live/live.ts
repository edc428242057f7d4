/**
 * Live counts: who listens to a campaign hears its newest state, at once and then at most four times a second. A listener that is slow
 * misses states in between, never the last one.
 */
import type { LaneState } from '@doorbuster/core';
import type { CancelTimer, Clock } from '@doorbuster/messaging';
import type { CampaignBook } from './campaign-book.ts';

/** What the public may know of a lane. */
export interface LiveCounts {
  readonly state: 'draft' | 'scheduled' | 'open' | 'paused' | 'closed' | 'halted';
  readonly soldOut: boolean;
  readonly entries: number;
  readonly remaining: number;
  readonly capacity: number;
  readonly waiting: number;
}

/** `id` is the record number: a reader that comes back with it is told only what is newer. */
export interface LiveEvent {
  readonly id: string;
  readonly counts: LiveCounts;
}

export interface Live {
  /** Returns the unsubscribe function. Does not tell the present state: ask `countsOf` for it. */
  subscribe(campaignId: string, listener: (event: LiveEvent) => void): () => void;
  /** How many listen, over all campaigns. */
  listeners(): number;
  close(): void;
}

const shortestGapMs = 250;

export const eventOf = (lane: LaneState): LiveEvent => ({
  id: `${lane.epoch}-${lane.recordNo}`,
  counts: countsOf(lane),
});

/** A halted lane commits nothing: who comes back with the id from before the halt is told of it once. */
export const haltedEventOf = (lane: LaneState): LiveEvent => ({
  id: `${lane.epoch}-${lane.recordNo}-halted`,
  counts: { ...countsOf(lane), state: 'halted' },
});

export function countsOf(lane: LaneState): LiveCounts {
  return {
    state: lane.phase,
    soldOut: lane.soldOutRecordNo !== null,
    entries: lane.seq,
    remaining: lane.free,
    capacity: lane.capacity - lane.reserved,
    waiting: lane.waiting,
  };
}

interface Topic {
  readonly listeners: Set<(event: LiveEvent) => void>;
  newest: LaneState | null;
  cancel: CancelTimer | null;
}

export function createLive(book: CampaignBook, clock: Clock): Live {
  const topics = new Map<string, Topic>();
  const unsubscribe = book.onLane((lane) => {
    const topic = topics.get(lane.campaign);
    if (!topic) return;
    topic.newest = lane;
    if (!topic.cancel) tell(topic);
  });

  function tell(topic: Topic): void {
    topic.cancel = null;
    if (!topic.newest) return;
    const event = eventOf(topic.newest);
    topic.newest = null;
    for (const listener of topic.listeners) listener(event);
    topic.cancel = clock.setTimer(shortestGapMs, () => tell(topic));
  }

  return {
    subscribe(campaignId, listener) {
      const topic = topics.get(campaignId) ?? { listeners: new Set(), newest: null, cancel: null };
      topics.set(campaignId, topic);
      topic.listeners.add(listener);
      return () => {
        topic.listeners.delete(listener);
        if (topic.listeners.size > 0 || topics.get(campaignId) !== topic) return;
        topic.cancel?.();
        topics.delete(campaignId);
      };
    },
    listeners: () => [...topics.values()].reduce((sum, topic) => sum + topic.listeners.size, 0),
    close() {
      unsubscribe();
      for (const topic of topics.values()) topic.cancel?.();
      topics.clear();
    },
  };
}
