/**
 * The clock of the simulated world: one heap of timers, run one at a time. Between two timers all promise jobs run to their end, so the order of
 * everything follows from the seed, whatever the machine is doing meanwhile.
 *
 * The wall clock may be stepped and may drift; the monotonic one is the observer's and does neither.
 */
import type { CancelTimer, Clock } from '@doorbuster/messaging';

interface Timer {
  readonly at: number;
  readonly order: number;
  run: (() => void) | null;
}

/** Timers run in one turn of Node's event loop; after each of them Node empties its queue of promise jobs. */
const timersATurn = 64;

export class SimulatedClock implements Clock {
  readonly #heap: Timer[] = [];
  #elapsed = 0;
  #order = 0;
  readonly #base: number;
  #offset = 0;
  /** The wall clock gains this much a millisecond since `#driftsSince`. */
  #drift = 0;
  #driftsSince = 0;

  constructor(startMs: number) {
    this.#base = startMs;
  }

  now(): number {
    return Math.floor(
      this.#base + this.#elapsed + this.#offset + this.#drift * (this.#elapsed - this.#driftsSince),
    );
  }

  monotonic(): number {
    return this.#elapsed;
  }

  setTimer(ms: number, run: () => void): CancelTimer {
    this.#order += 1;
    const timer: Timer = { at: this.#elapsed + Math.max(0, ms), order: this.#order, run };
    this.#push(timer);
    return () => {
      timer.run = null;
    };
  }

  /** Steps the wall clock, as an operator or NTP would. */
  step(ms: number): void {
    this.#offset += ms;
  }

  /** From now on the wall clock gains (or loses) this share of the time. */
  skew(share: number): void {
    this.#offset += this.#drift * (this.#elapsed - this.#driftsSince);
    this.#drift = share;
    this.#driftsSince = this.#elapsed;
  }

  /** The wall clock is right again, and drifts no more. */
  right(): void {
    this.#offset = 0;
    this.#drift = 0;
    this.#driftsSince = this.#elapsed;
  }

  /** Runs all timers up to `end`, with the promise jobs behind each, then stands at `end`. Rejects with what a timer throws. */
  runUntil(end: number): Promise<void> {
    return new Promise((resolve, reject) => {
      let over = false;
      const step = (): void => {
        if (over) return;
        try {
          if (this.#runNext(end)) return;
          over = true;
          resolve();
        } catch (error) {
          over = true;
          reject(error as Error);
        }
      };
      const turn = (): void => {
        for (let i = 0; i < timersATurn; i += 1) setImmediate(step);
        setImmediate(() => void (over || turn()));
      };
      turn();
    });
  }

  /** False when no timer is left before `end`. */
  #runNext(end: number): boolean {
    for (;;) {
      const next = this.#heap[0];
      if (next === undefined || next.at > end) {
        this.#elapsed = Math.max(this.#elapsed, end);
        return false;
      }
      this.#pop();
      if (next.run === null) continue;
      this.#elapsed = Math.max(this.#elapsed, next.at);
      next.run();
      return true;
    }
  }

  #push(timer: Timer): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(timer);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (isBefore(heap[parent] as Timer, timer)) break;
      heap[at] = heap[parent] as Timer;
      at = parent;
    }
    heap[at] = timer;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Timer, heap[child] as Timer)) child += 1;
      if (isBefore(last, heap[child] as Timer)) break;
      heap[at] = heap[child] as Timer;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(a: Timer, b: Timer): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
