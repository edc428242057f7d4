/** What a conformance case works with: a store of its own, a bus on it, and a collector that turns deliveries into signals. */
import type { Bus, Subscription } from '../bus.ts';
import { createBus } from '../bus.ts';
import type { Channel } from '../channel.ts';
import { pause, systemClock } from '../clock.ts';
import type { Engine } from '../engine.ts';

export interface EngineFixture {
  /** A new engine on this fixture's store. Called again after the former one was closed, or its process killed. */
  readonly open: () => Engine;
  /** For cases with real processes: a module that exports `openEngine(argument: string): Engine`, and its argument. */
  readonly child?: { readonly module: URL; readonly argument: string };
  /** Stores a payload that is no CloudEvent on a channel, as a broken publisher might; the bus is stopped meanwhile. */
  readonly injectRaw?: (channel: string, payload: string) => Promise<void>;
  /**
   * Ends every connection that engines of this fixture have now, without a word, as a network does. They may connect again at once; resolves to how many
   * it ended when the old ones are gone. A case in which none was ended fails: it would have shown nothing.
   */
  readonly breakConnections?: () => Promise<number>;
  /**
   * Ends the server without a word (SIGKILL) while engines of this fixture are connected, and starts it on what it had stored; resolves when it
   * takes connections again. For servers of the fixture's own only.
   */
  readonly restartServer?: () => Promise<void>;
  readonly destroy: () => Promise<void>;
}

/** What a fixture can do beyond opening engines: decides which cases apply. */
export type FixtureTraits = Pick<EngineFixture, 'child' | 'injectRaw' | 'breakConnections' | 'restartServer'>;

export function traitsOf({
  child,
  injectRaw,
  breakConnections,
  restartServer,
}: EngineFixture): FixtureTraits {
  return {
    ...(child && { child }),
    ...(injectRaw && { injectRaw }),
    ...(breakConnections && { breakConnections }),
    ...(restartServer && { restartServer }),
  };
}

/** Upper bound of any wait, ms: reached only when the engine is wrong. */
let patienceMs = 30_000;

/** For negative controls, which wait in vain on purpose. */
export function limitPatience(ms: number): void {
  patienceMs = ms;
}

/** What is waited for as long by other means than those below. */
export const patience = (): number => patienceMs;

/** For a wait that something else carries out, such as that for a lock. */
export const patienceAtMost = (ms: number): number => Math.min(ms, patienceMs);

export interface BusUse {
  readonly fixture: EngineFixture;
  readonly channels: readonly Channel[];
  /** Subscriptions are made here, before the start. */
  readonly prepare?: (bus: Bus) => void;
  readonly use: (bus: Bus) => Promise<void>;
}

/** Runs one life of a bus: start, use, stop, also when the use fails. */
export async function withBus({ fixture, channels, prepare, use }: BusUse): Promise<void> {
  const bus = createBus({ engine: fixture.open(), source: '/conformance' });
  bus.declare(channels);
  prepare?.(bus);
  await bus.start();
  try {
    await use(bus);
  } finally {
    await bus.stop({ drainMs: 1_000 });
  }
}

/** Collects values and lets a case wait for them by count. */
export class Collector<T> {
  readonly values: T[] = [];
  #waiters: { readonly count: number; readonly resolve: () => void }[] = [];

  add(value: T): void {
    this.values.push(value);
    this.#waiters = this.#waiters.filter(({ count, resolve }) => {
      if (this.values.length < count) return true;
      resolve();
      return false;
    });
  }

  /** Resolves when `count` values are there; rejects when the patience is over, saying what was. */
  async waitFor(count: number, what = 'values'): Promise<readonly T[]> {
    if (this.values.length >= count) return this.values;
    const enough = new AbortController();
    const arrived = new Promise<void>((resolve) => this.#waiters.push({ count, resolve }));
    await Promise.race([arrived, pause(systemClock, patienceMs, enough.signal)]);
    enough.abort();
    if (this.values.length < count)
      throw new Error(
        `waited for ${count} ${what}, got ${this.values.length}: ${JSON.stringify(this.values).slice(0, 500)}`,
      );
    return this.values;
  }
}

/** Repeats a look until it is satisfied; for states that no signal announces, such as a dead letter being listed. */
export async function eventually<T>(
  look: () => Promise<T>,
  satisfied: (value: T) => boolean,
  what: string,
): Promise<T> {
  const end = systemClock.monotonic() + patienceMs;
  for (;;) {
    const value = await look();
    if (satisfied(value)) return value;
    if (systemClock.monotonic() > end)
      throw new Error(`${what} did not come true; last seen: ${String(JSON.stringify(value)).slice(0, 500)}`);
    await pause(systemClock, 10);
  }
}

/** A promise with its ends outside. */
export function signal(): { readonly fired: Promise<void>; readonly fire: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { fired: promise, fire: resolve };
}

/** The numbers from one to another, both included. */
export function numbers(from: number, to: number): readonly number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

/** Makes the subscription exist and leaves: what is published from now on waits for it. */
export async function settleIn(subscription: Subscription): Promise<void> {
  await subscription.started;
  await subscription.stop({ drainMs: 0 });
}
