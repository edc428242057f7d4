/**
 * The turnstile sheds the crowd in front of the ledger: so many requests of one address, so many of one member. It may refuse, it never
 * grants, and what it forgets makes it looser, not wrong. This one is in memory; a port, because several processes will share one in Redis.
 *
 * Each caller is one number, the time at which its bucket is empty again (GCRA), in two generations of a Map: when the young one is
 * full the old one is dropped, so memory is bounded and nothing is swept.
 */
import type { Clock } from '@doorbuster/messaging';

export interface LimitState {
  readonly allowed: boolean;
  /** Requests left at once. */
  readonly remaining: number;
  /** When the next one is allowed (refused), or the whole burst is back (allowed). */
  readonly waitMs: number;
}

export interface Turnstile {
  /** One request of this network address. */
  address(address: string): LimitState;
  /** One entry request of this member. */
  member(memberKey: string): LimitState;
}

export interface Limit {
  readonly perSecond: number;
  readonly burst: number;
}

const mostCallers = 100_000;

export function createMemoryTurnstile(
  clock: Clock,
  limits: { readonly address: Limit; readonly member: Limit },
): Turnstile {
  const addresses = new Buckets(clock, limits.address);
  const members = new Buckets(clock, limits.member);
  return {
    address: (address) => addresses.take(networkOf(address)),
    member: (memberKey) => members.take(memberKey),
  };
}

class Buckets {
  readonly #clock: Clock;
  readonly #gapMs: number;
  readonly #burstMs: number;
  #young = new Map<string, number>();
  #old = new Map<string, number>();

  constructor(clock: Clock, limit: Limit) {
    this.#clock = clock;
    this.#gapMs = 1000 / limit.perSecond;
    this.#burstMs = this.#gapMs * limit.burst;
  }

  take(caller: string): LimitState {
    const now = this.#clock.monotonic();
    const emptyAt = Math.max(now, this.#young.get(caller) ?? this.#old.get(caller) ?? now) + this.#gapMs;
    const aheadMs = emptyAt - now;
    // A hair of tolerance, or the sum of many gaps would refuse the last request of a burst.
    if (aheadMs > this.#burstMs + 1e-6)
      return { allowed: false, remaining: 0, waitMs: Math.ceil(aheadMs - this.#burstMs) };
    this.#remember(caller, emptyAt);
    return {
      allowed: true,
      remaining: Math.floor((this.#burstMs - aheadMs) / this.#gapMs),
      waitMs: Math.ceil(aheadMs),
    };
  }

  #remember(caller: string, emptyAt: number): void {
    if (this.#young.size >= mostCallers && !this.#young.has(caller)) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(caller, emptyAt);
  }
}

/** One house has a whole /64 of IPv6 to itself, so that is what counts as an address. */
export function networkOf(address: string): string {
  if (!address.includes(':') || address.includes('.')) return address;
  const [head = '', tail] = address.split('::');
  const left = head === '' ? [] : head.split(':');
  if (tail === undefined) return left.slice(0, 4).join(':');
  const right = tail === '' ? [] : tail.split(':');
  const middle = new Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0');
  return [...left, ...middle, ...right].slice(0, 4).join(':');
}
