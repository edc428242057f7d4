/**
 * What the broker did not take when all was brought back, such as a queue that somebody made with other arguments meanwhile: it waits by itself, and what is sound goes on. It is tried again after
 * a wait that grows, all of it together, until nothing is left or a new connection tries everything anyway.
 */
import type { Clock } from '../../clock.ts';
import { pause } from '../../clock.ts';
import type { SubscriptionName, Topology } from '../../engine.ts';
import { GrowingWait } from './growing-wait.ts';

/** A channel, with all its subscriptions, or one of them. */
export interface Refused {
  readonly channel: string;
  /** Undefined: the channel itself. */
  readonly name?: string;
}

export interface HeldUpParts {
  readonly clock: Clock;
  /** Nothing is tried any more. */
  readonly ended: AbortSignal;
  /** Tries what is held up; never rejects. */
  readonly tryAgain: () => Promise<void>;
}

const WAITS = { firstMs: 50, longestMs: 5_000 };

export class HeldUp {
  readonly #parts: HeldUpParts;
  readonly #waits: GrowingWait;
  readonly #held = new Map<string, Refused>();
  #waiting = false;

  constructor(parts: HeldUpParts) {
    this.#parts = parts;
    this.#waits = new GrowingWait(parts.clock, WAITS);
  }

  add(refused: Refused): void {
    this.#held.set(keyOf(refused), refused);
    if (!this.#waiting) void this.#goOn();
  }

  /** All that is held up, which no longer is. */
  take(): readonly Refused[] {
    const taken = [...this.#held.values()];
    this.#held.clear();
    return taken;
  }

  has({ channel, name }: SubscriptionName): boolean {
    return this.#held.has(keyOf({ channel })) || this.#held.has(keyOf({ channel, name }));
  }

  /** Of what is known: what is not held up. */
  without({ channels, subscriptions }: Topology): Topology {
    return {
      channels: channels.filter(({ name }) => !this.#held.has(keyOf({ channel: name }))),
      subscriptions: subscriptions.filter((one) => !this.has(one)),
    };
  }

  /** Of what is known: what is held up, with the channels of its subscriptions. */
  of({ channels, subscriptions }: Topology): Topology {
    const held = new Set([...this.#held.values()].map(({ channel }) => channel));
    return {
      channels: channels.filter(({ name }) => held.has(name)),
      subscriptions: subscriptions.filter((one) => this.has(one)),
    };
  }

  async #goOn(): Promise<void> {
    const { clock, ended, tryAgain } = this.#parts;
    this.#waiting = true;
    while (this.#held.size > 0 && !ended.aborted) {
      await pause(clock, this.#waits.next(), ended);
      if (this.#held.size > 0 && !ended.aborted) await tryAgain();
    }
    this.#waiting = false;
  }
}

/** No name of a channel has a slash. */
function keyOf({ channel, name }: Refused): string {
  return name === undefined ? channel : `${channel}/${name}`;
}
