/**
 * Membership of a consumer group, classic protocol. The client keeps the session by a timer of its own, whatever the handlers do, so a handler may work
 * for hours. This file turns its events into two calls:
 *
 *   joining --join--> member --rebalance--> (`beforeRejoin`: what is out may still be settled) --join--> member
 *      '-- failed, or the session was lost and could not be had again: a new member after a pause
 *
 * `kept` says whether nobody else can have had the partitions meanwhile: the same member, one generation later.
 *
 * While the group has no coordinator (the first group of a cluster, a broker that was killed, a coordinator that still reads its log) a join is tried again for as long as a
 * request may take; the client gives up after its four tries, within half a second.
 *
 * A member with a name (`group.instance.id`) is put by the broker into the place of whoever had the name before, with its partitions and without a rebalance:
 * the others never notice that it was killed and came again. The broker fences the former holder of the name by its member id. Such a one must not take the name
 * back, or the two would take it from each other for ever: it goes on without a name.
 *
 * Whoever leaves waits for what is under way, and a join that ends only then is taken back: the client would keep its session for ever, for nobody. How long it waits for a broker
 * that does not answer is the reader's affair, which cuts the connections then.
 */
import { Consumer } from '@platformatic/kafka';
import { type Clock, pause } from '../../clock.ts';
import { MessagingError } from '../../errors.ts';
import { encodeOwned, PROTOCOL, stickyAssigner } from './assigner.ts';
import { cut } from './farewell.ts';
import { faultOf, isCoordinatorAway, says } from './faults.ts';
import { heard } from './heard.ts';
import { clientOptions } from './link.ts';
import type { KafkaSettings } from './options.ts';

export interface MembershipParts {
  readonly settings: KafkaSettings;
  readonly clock: Clock;
  readonly group: string;
  readonly topic: string;
  readonly beforeRejoin: () => Promise<void>;
  readonly onAssigned: (partitions: readonly number[], kept: boolean) => void;
  /** The id of the member that goes by this name now. */
  readonly holderOf: (name: string) => Promise<string | undefined>;
  /** Asks the broker about a member; rejects with what it says against it. */
  readonly ask: (member: Identity) => Promise<void>;
  readonly onTrouble: (error: Error) => void;
}

export interface Identity {
  readonly memberId: string;
  readonly generation: number;
  /** Null without a name. */
  readonly name: string | null;
}

const AGAIN_MS = 200;
/** The longest handler of a revocation has the grace; the group waits for its members this much longer. */
const REBALANCE_SLACK_MS = 5_000;

export class Membership {
  readonly #parts: MembershipParts;
  #consumer: Consumer | undefined;
  #identity: Identity | undefined;
  #owned: readonly number[] = [];
  /** On the monotonic clock: so long the broker keeps the member that it last answered, whatever it hears of it. */
  #sureUntil = 0;
  /** Undefined also once another process goes by it. */
  #name: string | undefined;
  readonly #closing = new AbortController();
  /** Those that are connected: also one that joins, and one that leaves. */
  readonly #consumers = new Set<Consumer>();
  /** What may still end as a member of the group. */
  readonly #underWay = new Set<Promise<void>>();

  constructor(parts: MembershipParts) {
    this.#parts = parts;
    this.#name = parts.settings.memberName;
  }

  /** Who commits speak for; undefined while no member. */
  get identity(): Identity | undefined {
    return this.#identity;
  }

  /** Resolves when the group has taken it in; rejects with DB_MSG_STOPPED when it leaves first. */
  join(): Promise<void> {
    return this.#awaited(this.#joinSurely());
  }

  /** The broker said that this member is none any more: what it had is somebody else's. */
  renew(): void {
    if (this.#closing.signal.aborted) return;
    void this.#awaited(this.#startAgain());
  }

  /**
   * Asks the broker where nothing was heard of it for a session: a process that stood still (SIGSTOP, a frozen machine, a blocked event loop) may be no member any more
   * and not know it yet. For what the broker would not refuse by itself, as it does a commit. Rejects as retryable when there is no answer.
   */
  async makeSure(): Promise<void> {
    const { clock, settings, group, ask } = this.#parts;
    const member = this.#identity;
    const asked = clock.monotonic();
    if (member === undefined || asked < this.#sureUntil) return;
    try {
      await ask(member);
      if (member === this.#identity) this.#sureUntil = asked + settings.sessionTimeoutMs;
    } catch (error) {
      // What is out may still be settled while the group waits for its members.
      if (says(error, 'REBALANCE_IN_PROGRESS')) return;
      if (!isGone(error)) throw faultOf(error, `asking whether it is still a member of ${group}`);
      if (member === this.#identity) this.renew();
    }
  }

  /** Before it joins anew: what is out may still be settled, for a while. */
  letGo(): Promise<void> {
    return this.#parts.beforeRejoin();
  }

  async leave(): Promise<void> {
    this.#closing.abort();
    await Promise.allSettled(this.#underWay);
    await this.#end(this.#consumer);
    this.#identity = undefined;
  }

  /** Ends a leaving that the broker does not answer: without it the member stays one until its session has ended. */
  cut(): void {
    for (const consumer of this.#consumers) cut(consumer);
  }

  /** Leaving waits for it. */
  #awaited(work: Promise<void>): Promise<void> {
    const ended = work.finally(() => this.#underWay.delete(ended));
    this.#underWay.add(ended);
    return ended;
  }

  #refuseLeft(): void {
    if (this.#closing.signal.aborted)
      throw new MessagingError('DB_MSG_STOPPED', `leaving ${this.#parts.group}, so nothing joins it`);
  }

  async #joinSurely(): Promise<void> {
    const { clock, settings } = this.#parts;
    const until = clock.monotonic() + settings.requestTimeoutMs;
    for (;;) {
      this.#refuseLeft();
      try {
        return await this.#joinOnce();
      } catch (error) {
        const { aborted } = this.#closing.signal;
        if (aborted || !isCoordinatorAway(error) || clock.monotonic() >= until) throw error;
        await pause(clock, AGAIN_MS, this.#closing.signal);
      }
    }
  }

  async #joinOnce(): Promise<void> {
    const { settings, group, topic } = this.#parts;
    const name = this.#name;
    let asked = false;
    const consumer = new Consumer({
      ...clientOptions(settings),
      groupId: group,
      ...(name === undefined ? {} : { groupInstanceId: name }),
      sessionTimeout: settings.sessionTimeoutMs,
      rebalanceTimeout: settings.sessionTimeoutMs + settings.revokeGraceMs + REBALANCE_SLACK_MS,
      heartbeatInterval: settings.heartbeatMs,
      // A join waits for the other members: longer than any other request.
      requestTimeout:
        settings.requestTimeoutMs + settings.sessionTimeoutMs + settings.revokeGraceMs + REBALANCE_SLACK_MS,
      protocols: [{ name: PROTOCOL, version: 0 }],
      protocolsMetadata: async () => {
        // With a name it is taken in at the first request. That it is nobody again means that it was put out, or somebody else came by its name.
        if (name !== undefined && asked && consumer.memberId === null) throw displaced(group, name);
        asked = true;
        if (this.#consumer === consumer) await this.letGo();
        return encodeOwned(this.#owned);
      },
      partitionAssigner: stickyAssigner,
    });
    this.#consumers.add(heard(consumer));
    this.#listen(consumer);
    consumer.topics.track(topic);
    try {
      await consumer.joinGroup({});
      this.#refuseLeft();
    } catch (error) {
      await this.#end(consumer);
      throw faultOf(error, `joining ${group}`);
    }
  }

  #listen(consumer: Consumer): void {
    const { clock, settings } = this.#parts;
    let asked = 0;
    consumer.on('consumer:heartbeat:start', () => {
      asked = clock.monotonic();
    });
    consumer.on('consumer:heartbeat:end', () => {
      if (this.#consumer === consumer) this.#sureUntil = asked + settings.sessionTimeoutMs;
    });
    consumer.on('consumer:group:join', ({ memberId, generationId = 0, assignments = [] }) => {
      if (this.#closing.signal.aborted) return;
      const before = this.#identity;
      const kept = before?.memberId === memberId && generationId === before.generation + 1;
      this.#consumer = consumer;
      // The answer may have waited here through a stop of the process, and nobody tells when it was asked for.
      this.#sureUntil = 0;
      this.#identity = { memberId, generation: generationId, name: consumer.groupInstanceId };
      this.#owned = (assignments ?? []).flatMap(({ partitions }) => partitions);
      this.#parts.onAssigned(this.#owned, kept);
    });
    consumer.on('error', (error: Error) => this.#broken(consumer, error));
    consumer.on('consumer:heartbeat:error', ({ error }) => this.#parts.onTrouble(error));
  }

  /** The client has given up: it schedules no more heartbeats. */
  #broken(consumer: Consumer, error: Error): void {
    this.#parts.onTrouble(error);
    if (this.#consumer === consumer && !this.#closing.signal.aborted) void this.#awaited(this.#startAgain());
  }

  async #startAgain(): Promise<void> {
    const former = this.#consumer;
    if (!former) return;
    const formerId = this.#identity?.memberId;
    this.#consumer = undefined;
    this.#identity = undefined;
    this.#owned = [];
    this.#parts.onAssigned([], false);
    await this.#end(former);
    while (!this.#closing.signal.aborted) {
      try {
        await this.#giveUpHeldName(formerId);
        return await this.join();
      } catch (error) {
        if (this.#closing.signal.aborted) return;
        this.#parts.onTrouble(error as Error);
        await pause(this.#parts.clock, AGAIN_MS, this.#closing.signal);
      }
    }
  }

  /** The name may also still be held by who this process was, when it could not leave in order. */
  async #giveUpHeldName(formerId: string | undefined): Promise<void> {
    const { group, holderOf, onTrouble } = this.#parts;
    if (this.#name === undefined) return;
    const holder = await holderOf(this.#name);
    if (holder === undefined || holder === formerId) return;
    onTrouble(displaced(group, this.#name));
    this.#name = undefined;
  }

  async #end(consumer: Consumer | undefined): Promise<void> {
    if (!consumer) return;
    if (this.#consumer === consumer) this.#consumer = undefined;
    consumer.removeAllListeners('consumer:group:join');
    await (consumer.leaveGroup(true) as unknown as Promise<void>).catch(() => {});
    await consumer.close(true).catch(() => {});
    this.#consumers.delete(consumer);
  }
}

/** The broker knows no such member (any more). */
export function isGone(error: unknown): boolean {
  return says(error, 'UNKNOWN_MEMBER_ID', 'FENCED_INSTANCE_ID');
}

function displaced(group: string, name: string): MessagingError {
  return new MessagingError('DB_MSG_ENGINE_LOCKED', `another process goes by the name "${name}" in ${group}`);
}
