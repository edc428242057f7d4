/**
 * Finds at once who is gone. The server knows that a process has ended when its connections close, long before a beat is missed: so each instance looks a few
 * times a second whether the connections of a few others are still there.
 *
 *   there -> missing -> gone       missing: no such connection any more; it gets the time of a reconnect to show another one
 *     '---------'                  back: it has beaten since (each beat tells the connection of now), or it has a connection of its name
 *
 * Every instance has several connections. One of them may close for many reasons, all of them in the same moment seldom for another than the end of the process: who shows
 * none at all when it is first missed gets a shorter time.
 *
 * A list in which this instance does not find itself is no evidence: its own connection was cut, perhaps everybody's, and the others get as long to come back as a
 * missed beat would give them.
 *
 * It takes nothing from anybody: whoever is told of a gone one asks again, in one step with the taking, whether it has beaten since.
 */
import type { Clock } from '../../clock.ts';
import type { RedisClient } from '../../redis/client.ts';
import { allInstancesThere, instancesThere, type Peer, watchedBy } from './peers.ts';

export interface ConnectionWatchParts {
  readonly client: Pick<RedisClient, 'send'>;
  readonly clock: Clock;
  readonly instance: string;
  /** Missing for so long is gone, ms. */
  readonly graceMs: number;
  /** The same for one that showed no connection of any kind when it was first missed, ms; longer where questions to the server take long, and never longer than the other. */
  readonly endedGraceMs: number;
  /** After a cut of one's own nobody is missing for so long, ms. */
  readonly holdMs: number;
  /** Asks the server anew who is on record; the answer comes by `learn` as well. */
  readonly census: () => Promise<readonly Peer[]>;
  /** It may have a connection of another kind, or come back right now: the listener looks. */
  readonly onGone: (peer: Peer) => Promise<void>;
}

interface Missing {
  readonly peer: Peer;
  /** Monotonic, ms. */
  readonly since: number;
  readonly graceMs: number;
}

/** So many round trips a way back takes at most, with TLS; each as long as this instance's own last one took, which holds also what a busy machine adds. */
const ROUND_TRIPS_BACK = 8;

/** A process that is stopped, or ends together with those it watches, must not be the only one that watches them. */
const WATCHED = 3;

export class ConnectionWatch {
  readonly #parts: ConnectionWatchParts;
  readonly #missing = new Map<string, Missing>();
  #own = '';
  #watched: readonly Peer[] = [];
  #holdUntil = Number.NEGATIVE_INFINITY;
  #roundTripMs = 0;

  constructor(parts: ConnectionWatchParts) {
    this.#parts = parts;
  }

  /** Who is on record, and this instance's own connection; empty: the server tells nothing, and nothing is looked at. */
  learn(own: string, peers: readonly Peer[]): void {
    this.#own = own;
    this.#watched = own === '' ? [] : watchedBy(this.#parts.instance, peers, WATCHED);
    for (const name of this.#missing.keys())
      if (!this.#watched.some(({ instance }) => instance === name)) this.#missing.delete(name);
  }

  async look(): Promise<void> {
    if (this.#watched.length === 0) return;
    const { client, clock, instance } = this.#parts;
    const asked = clock.monotonic();
    const there = await instancesThere(client, [
      this.#own,
      ...this.#watched.map(({ connection }) => connection),
    ]).catch(() => new Set<string>());
    const now = clock.monotonic();
    this.#roundTripMs = now - asked;
    if (!there.has(instance)) return this.#hold(now);
    if (now < this.#holdUntil) return;
    for (const name of there) this.#missing.delete(name);
    const absent = this.#watched.filter((one) => !there.has(one.instance));
    if (absent.some((one) => this.#isNews(one, now))) await this.#weigh(absent, now);
  }

  #hold(now: number): void {
    this.#missing.clear();
    this.#holdUntil = now + this.#parts.holdMs;
  }

  #isNews({ instance }: Peer, now: number): boolean {
    const known = this.#missing.get(instance);
    return !known || isOver(known, now);
  }

  /** What is on record now is the last that a closed connection can have said. */
  async #weigh(absent: readonly Peer[], now: number): Promise<void> {
    const there = absent.every(({ instance }) => this.#missing.has(instance))
      ? undefined
      : await this.#allThere();
    const peers = await this.#parts.census();
    for (const { instance, connection } of absent) {
      const peer = peers.find((one) => one.instance === instance);
      const known = this.#missing.get(instance);
      if (!peer || peer.connection !== connection || (known && known.peer.beat !== peer.beat))
        this.#missing.delete(instance);
      else if (!known)
        this.#missing.set(instance, { peer, since: now, graceMs: this.#graceOf(instance, there) });
      else if (isOver(known, now)) await this.#parts.onGone(peer);
    }
  }

  #graceOf(instance: string, there: ReadonlySet<string> | undefined): number {
    const { graceMs, endedGraceMs } = this.#parts;
    if (there === undefined || there.has(instance)) return graceMs;
    return Math.min(graceMs, endedGraceMs + ROUND_TRIPS_BACK * this.#roundTripMs);
  }

  /** Undefined: the server does not tell. */
  async #allThere(): Promise<ReadonlySet<string> | undefined> {
    const there = await allInstancesThere(this.#parts.client).catch(() => undefined);
    return there?.has(this.#parts.instance) ? there : undefined;
  }
}

const isOver = ({ since, graceMs }: Missing, now: number): boolean => now - since >= graceMs;
