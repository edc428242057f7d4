/**
 * Channels that the bus of a relay does not know, while a deployment may still be rolling: whoever writes rows for a new channel is there before the relay that declares it.
 * Their rows wait, tried again ever more seldom, and are parked only when that has lasted too long for a deployment.
 *
 *   refused --> waiting --published--> known        waiting --undeclaredMs over--> its rows are parked, those that come later at once
 *   waiting or parked --none of its rows is held any more--> forgotten
 *
 * By channel and not by key, because it is refused as a whole: one row is tried for all. What is known here is this relay's since it owns the outbox: another owner begins anew.
 */
import type { Clock } from './clock.ts';
import type { Log } from './log.ts';
import { backOffAfter } from './work-loop.ts';

export interface UndeclaredOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly backOffMs: number;
  /** Infinity: never too long. */
  readonly undeclaredMs: number;
}

interface Undeclared {
  /** On the monotonic clock. */
  readonly since: number;
  attempts: number;
  retryAt: number;
}

export class UndeclaredChannels {
  readonly #options: UndeclaredOptions;
  readonly #channels = new Map<string, Undeclared>();

  constructor(options: UndeclaredOptions) {
    this.#options = options;
  }

  get names(): readonly string[] {
    return [...this.#channels.keys()];
  }

  /** Whether its rows wait without being tried. */
  waits(channel: string | undefined): boolean {
    const known = channel === undefined ? undefined : this.#channels.get(channel);
    return known !== undefined && !this.#isOver(known) && known.retryAt > this.#options.clock.monotonic();
  }

  /** Whether it was refused and not published since: one of its rows goes first. */
  has(channel: string): boolean {
    return this.#channels.has(channel);
  }

  /** A row was refused for its channel. True: it has been so for too long, park it. Rows that are refused before the next try is due are no try of their own. */
  refused(channel: string): boolean {
    const { clock, log, backOffMs, undeclaredMs } = this.#options;
    const now = clock.monotonic();
    const known = this.#channels.get(channel) ?? { since: now, attempts: 0, retryAt: now };
    if (known.attempts === 0)
      log.error(
        // JSON has no Infinity, and its null would say nothing.
        { channel, ...(Number.isFinite(undeclaredMs) ? { parkedAfterMs: undeclaredMs } : {}) },
        "the channel of outbox rows is not declared on the relay's bus; they wait",
      );
    if (known.retryAt <= now) {
      known.retryAt = now + backOffAfter(known.attempts, backOffMs);
      known.attempts += 1;
    }
    this.#channels.set(channel, known);
    return this.#isOver(known);
  }

  published(channel: string): void {
    this.#channels.delete(channel);
  }

  /** Forgets all but these, which have rows that are held: a person may have discarded those of others. */
  keepOnly(channels: ReadonlySet<string>): void {
    for (const channel of this.#channels.keys()) if (!channels.has(channel)) this.#channels.delete(channel);
  }

  clear(): void {
    this.#channels.clear();
  }

  #isOver({ since }: Undeclared): boolean {
    return this.#options.clock.monotonic() - since >= this.#options.undeclaredMs;
  }
}
