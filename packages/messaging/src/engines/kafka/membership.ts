/**
 * Membership of a consumer group, classic protocol. The client keeps the session by a timer of its own, whatever the handlers do, so a handler may work
 * for hours. This file turns its events into two calls:
 *
 *   joining --join--> member --rebalance--> (`beforeRejoin`: what is out may still be settled) --join--> member
 *      '-- failed, or the session was lost and could not be had again: a new member after a pause
 *
 * `kept` says whether nobody else can have had the partitions meanwhile: the same member, one generation later.
 */
import { Consumer } from '@platformatic/kafka';
import { type Clock, pause } from '../../clock.ts';
import { encodeOwned, PROTOCOL, stickyAssigner } from './assigner.ts';
import { faultOf } from './faults.ts';
import { clientOptions } from './link.ts';
import type { KafkaSettings } from './options.ts';

export interface MembershipParts {
  readonly settings: KafkaSettings;
  readonly clock: Clock;
  readonly group: string;
  readonly topic: string;
  readonly beforeRejoin: () => Promise<void>;
  readonly onAssigned: (partitions: readonly number[], kept: boolean) => void;
  readonly onTrouble: (error: Error) => void;
}

export interface Identity {
  readonly memberId: string;
  readonly generation: number;
}

const AGAIN_MS = 200;
/** The longest handler of a revocation has the grace; the group waits for its members this much longer. */
const REBALANCE_SLACK_MS = 5_000;

export class Membership {
  readonly #parts: MembershipParts;
  #consumer: Consumer | undefined;
  #identity: Identity | undefined;
  #owned: readonly number[] = [];
  readonly #closing = new AbortController();
  #joining: Promise<void> = Promise.resolve();

  constructor(parts: MembershipParts) {
    this.#parts = parts;
  }

  /** Who commits speak for; undefined while no member. */
  get identity(): Identity | undefined {
    return this.#identity;
  }

  /** Resolves when the group has taken it in. */
  async join(): Promise<void> {
    const joined = this.#joinOnce();
    this.#joining = joined.catch(() => {});
    await joined;
  }

  /** The broker said that this member is none any more: what it had is somebody else's. */
  renew(): void {
    if (this.#closing.signal.aborted) return;
    void this.#startAgain();
  }

  async leave(): Promise<void> {
    this.#closing.abort();
    await this.#joining;
    await this.#end(this.#consumer);
    this.#identity = undefined;
  }

  async #joinOnce(): Promise<void> {
    const { settings, group, topic } = this.#parts;
    const consumer = new Consumer({
      ...clientOptions(settings),
      groupId: group,
      sessionTimeout: settings.sessionTimeoutMs,
      rebalanceTimeout: settings.sessionTimeoutMs + settings.revokeGraceMs + REBALANCE_SLACK_MS,
      heartbeatInterval: settings.heartbeatMs,
      // A join waits for the other members: longer than any other request.
      requestTimeout:
        settings.requestTimeoutMs + settings.sessionTimeoutMs + settings.revokeGraceMs + REBALANCE_SLACK_MS,
      protocols: [{ name: PROTOCOL, version: 0 }],
      protocolsMetadata: async () => {
        if (this.#consumer === consumer) await this.#parts.beforeRejoin();
        return encodeOwned(this.#owned);
      },
      partitionAssigner: stickyAssigner,
    });
    this.#listen(consumer);
    consumer.topics.track(topic);
    try {
      await consumer.joinGroup({});
    } catch (error) {
      await this.#end(consumer);
      throw faultOf(error, `joining ${group}`);
    }
  }

  #listen(consumer: Consumer): void {
    consumer.on('consumer:group:join', ({ memberId, generationId = 0, assignments = [] }) => {
      if (this.#closing.signal.aborted) return;
      const before = this.#identity;
      const kept = before?.memberId === memberId && generationId === before.generation + 1;
      this.#consumer = consumer;
      this.#identity = { memberId, generation: generationId };
      this.#owned = (assignments ?? []).flatMap(({ partitions }) => partitions);
      this.#parts.onAssigned(this.#owned, kept);
    });
    consumer.on('error', (error: Error) => this.#broken(consumer, error));
    consumer.on('consumer:heartbeat:error', ({ error }) => this.#parts.onTrouble(error));
  }

  /** The client has given up: it schedules no more heartbeats. */
  #broken(consumer: Consumer, error: Error): void {
    this.#parts.onTrouble(error);
    if (this.#consumer === consumer && !this.#closing.signal.aborted) void this.#startAgain();
  }

  async #startAgain(): Promise<void> {
    const former = this.#consumer;
    if (!former) return;
    this.#consumer = undefined;
    this.#identity = undefined;
    this.#owned = [];
    this.#parts.onAssigned([], false);
    await this.#end(former);
    while (!this.#closing.signal.aborted) {
      try {
        return await this.join();
      } catch (error) {
        this.#parts.onTrouble(error as Error);
        await pause(this.#parts.clock, AGAIN_MS, this.#closing.signal);
      }
    }
  }

  async #end(consumer: Consumer | undefined): Promise<void> {
    if (!consumer) return;
    if (this.#consumer === consumer) this.#consumer = undefined;
    consumer.removeAllListeners('consumer:group:join');
    await (consumer.leaveGroup(true) as unknown as Promise<void>).catch(() => {});
    await consumer.close(true).catch(() => {});
  }
}
