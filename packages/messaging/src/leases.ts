/**
 * What is handed out, and until when, for engines whose server has no leases (RabbitMQ, Kafka): it keeps a delivery for its consumer as long as
 * the connection or the group's session lives. So the lease is kept by the consumer itself: when it ends, the message is given back. A
 * process that hangs as a whole cannot do that; its heartbeat ends, and the server takes what it had.
 */
import type { CancelTimer, Clock } from './clock.ts';
import type { DeliveryToken } from './engine.ts';

export class Leases<E> {
  readonly #clock: Clock;
  readonly #leaseMs: number;
  readonly #onEnd: (entry: E) => void;
  /** In the order of their ends, because an extended one moves to the back. */
  readonly #held = new Map<DeliveryToken, { readonly entry: E; readonly until: number }>();
  #cancel: CancelTimer | undefined;

  constructor(clock: Clock, leaseMs: number, onEnd: (entry: E) => void) {
    this.#clock = clock;
    this.#leaseMs = leaseMs;
    this.#onEnd = onEnd;
  }

  get size(): number {
    return this.#held.size;
  }

  /** When a lease that begins now ends, monotonic ms: looked up once for all that are lent together. */
  endOfNew(): number {
    return this.#clock.monotonic() + this.#leaseMs;
  }

  lend(token: DeliveryToken, entry: E, until = this.endOfNew()): void {
    this.#held.set(token, { entry, until });
    this.#watch();
  }

  extend(token: DeliveryToken): boolean {
    const held = this.#held.get(token);
    if (!held) return false;
    this.#held.delete(token);
    this.lend(token, held.entry);
    return true;
  }

  /** Ends the lease for a settlement. */
  take(token: DeliveryToken): E | undefined {
    const held = this.#held.get(token);
    this.#held.delete(token);
    return held?.entry;
  }

  entries(): readonly E[] {
    return [...this.#held.values()].map(({ entry }) => entry);
  }

  /** Their leases are no more; settlements of them find them lost. */
  remove(isMeant: (entry: E) => boolean): void {
    for (const [token, { entry }] of this.#held) if (isMeant(entry)) this.#held.delete(token);
  }

  clear(): readonly E[] {
    const all = this.entries();
    this.#held.clear();
    this.#cancel?.();
    this.#cancel = undefined;
    return all;
  }

  #watch(): void {
    if (this.#cancel) return;
    const [first] = this.#held.values();
    if (!first) return;
    this.#cancel = this.#clock.setTimer(Math.max(0, first.until - this.#clock.monotonic()), () => {
      this.#cancel = undefined;
      for (const [token, { entry, until }] of this.#held) {
        if (until > this.#clock.monotonic()) break;
        this.#held.delete(token);
        this.#onEnd(entry);
      }
      this.#watch();
    });
  }
}
