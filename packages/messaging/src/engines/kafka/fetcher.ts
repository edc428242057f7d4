/**
 * Reads on, in all places of one assignment at once: a loop per node, one long request at a time. It is made anew for each assignment, because
 * the only way to end a long request is to end its connection.
 */
import { type Clock, pause } from '../../clock.ts';
import { fetchFrom, type Fetched, type Spot } from './fetch.ts';
import { Link } from './link.ts';
import type { KafkaSettings } from './options.ts';

export interface Source extends Spot {
  /** False while it has enough unread. */
  readonly wantsMore: boolean;
}

export interface FetcherParts<S extends Source> {
  readonly settings: KafkaSettings;
  readonly clock: Clock;
  readonly sources: readonly S[];
  readonly onFetched: (fetched: readonly Fetched<S>[]) => void;
  readonly onTrouble: (error: Error) => void;
}

/** When some places are left out for now, the request may not last long: they will want more soon. */
const LONG_WAIT_MS = 500;
const SHORT_WAIT_MS = 20;
const ALL_BYTES = 8 * 2 ** 20;
const AGAIN_MS = 100;

export class Fetcher<S extends Source> {
  readonly #parts: FetcherParts<S>;
  readonly #link: Link;
  readonly #closing = new AbortController();
  readonly #leaders = new Map<S, number>();
  readonly #loops = new Set<number>();
  #wake = Promise.withResolvers<void>();

  constructor(parts: FetcherParts<S>) {
    this.#parts = parts;
    this.#link = new Link(parts.settings, parts.clock);
  }

  start(): void {
    void this.#findLeaders(this.#parts.sources);
  }

  /** Some places may want more again. */
  wake(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers<void>();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.wake();
    await this.#link.close();
  }

  get #closed(): boolean {
    return this.#closing.signal.aborted;
  }

  async #findLeaders(sources: readonly S[]): Promise<void> {
    let missing = [...sources];
    for (let fresh = false; missing.length > 0 && !this.#closed; fresh = true) {
      const left: S[] = [];
      for (const source of missing) {
        try {
          this.#leaders.set(source, await this.#link.leaderOf(source.topic, source.partition, fresh));
        } catch (error) {
          this.#parts.onTrouble(error as Error);
          left.push(source);
        }
      }
      for (const node of this.#leaders.values()) this.#ensureLoop(node);
      missing = left;
      if (missing.length > 0) await pause(this.#parts.clock, AGAIN_MS, this.#closing.signal);
    }
  }

  #ensureLoop(node: number): void {
    if (this.#loops.has(node) || this.#closed) return;
    this.#loops.add(node);
    void this.#loop(node);
  }

  async #loop(node: number): Promise<void> {
    while (!this.#closed) {
      const mine = [...this.#leaders].filter(([, leader]) => leader === node).map(([source]) => source);
      // In one step with the look: a place that comes to this node from now on needs a loop of its own, or nobody would ever read it on.
      if (mine.length === 0) return void this.#loops.delete(node);
      const wanted = mine.filter(({ wantsMore }) => wantsMore);
      if (wanted.length === 0) await this.#wake.promise;
      else await this.#read(node, wanted, wanted.length < mine.length);
    }
  }

  async #read(node: number, wanted: readonly S[], someLeftOut: boolean): Promise<void> {
    const { clock, onFetched, onTrouble } = this.#parts;
    try {
      const fetched = await fetchFrom(this.#link, node, wanted, {
        maxWaitMs: someLeftOut ? SHORT_WAIT_MS : LONG_WAIT_MS,
        maxBytes: ALL_BYTES,
      });
      if (this.#closed) return;
      onFetched(fetched);
      // Also where the log is not what it was: the reader is finding out where it goes on.
      const stale = fetched.filter(({ fault }) => fault !== 'none').map(({ spot }) => spot);
      if (stale.length > 0) await this.#lookAgain(stale);
    } catch (error) {
      if (this.#closed) return;
      onTrouble(error as Error);
      await this.#lookAgain(wanted);
      await pause(clock, AGAIN_MS, this.#closing.signal);
    }
  }

  /** Somebody else may lead them now. */
  async #lookAgain(sources: readonly S[]): Promise<void> {
    for (const source of sources) this.#leaders.delete(source);
    await pause(this.#parts.clock, AGAIN_MS, this.#closing.signal);
    void this.#findLeaders(sources);
  }
}
