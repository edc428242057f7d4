/**
 * The world of one seed: one manual clock that moves from timer to timer, the trace, and the count of faults. Production code runs in it
 * unchanged: everything it waits for is a timer here or a promise that a timer settles.
 *
 * Between two timers all promise jobs run to their end (one turn of Node's event loop), so the order of everything follows from the seed.
 */
import { createHash } from 'node:crypto';
import { createManualClock, type ManualClock } from '@doorbuster/messaging';
import { Seeded } from './seeded.ts';

export const faultKinds = [
  'crash',
  'crash-before-commit',
  'lost-commit-reply',
  'slow-writer',
  'disk-full',
  'paused-worker',
  'clock-step',
  'lost-answer',
  'provider-refusal',
  'provider-time-out',
  'messenger-refusal',
  'messenger-time-out',
] as const;
export type FaultKind = (typeof faultKinds)[number];

/** Lines kept for the report of a violation. */
const keptLines = 400;

export class World {
  readonly seed: string;
  readonly clock: ManualClock;
  readonly faults = new Map<FaultKind, number>();
  /** False before the start and once the calm began: then nothing breaks. */
  faulty = false;
  readonly #root: Seeded;
  readonly #storms = new Map<FaultKind, number>();
  readonly #hash = createHash('sha256');
  #lines: string[] = [];

  constructor(seed: string) {
    this.seed = seed;
    this.#root = new Seeded(seed);
    this.clock = createManualClock(Date.UTC(2027, 0, 4, 0, 59, 0));
  }

  random(name: string): Seeded {
    return this.#root.stream(name);
  }

  /** Time of the observer: no step of a wall clock touches it. ms since the start of the run */
  get now(): number {
    return this.clock.monotonic();
  }

  after(ms: number, run: () => void): () => void {
    return this.clock.setTimer(ms, run);
  }

  delay(ms: number): Promise<void> {
    return new Promise((resolve) => void this.clock.setTimer(ms, resolve));
  }

  /** Share of the calls to this far end that go wrong in this run: mostly few, sometimes most. */
  storm(kind: FaultKind): number {
    let share = this.#storms.get(kind);
    if (share === undefined) {
      const random = this.random(`storm ${kind}`);
      share = random.chance(0.25) ? 0.3 + random.share() * 0.4 : 0.02 + random.share() * 0.2;
      this.#storms.set(kind, share);
    }
    return share;
  }

  /** One line of the trace: what was seen from outside, never a secret or an object's address. */
  note(what: string, ...details: readonly (string | number | boolean | null)[]): void {
    const line = `${this.now.toFixed(3)} ${what} ${details.join(' ')}`;
    this.#hash.update(line).update('\n');
    this.#lines.push(line);
    if (this.#lines.length > 2 * keptLines) this.#lines = this.#lines.slice(-keptLines);
  }

  fault(kind: FaultKind, ...details: readonly (string | number)[]): void {
    this.faults.set(kind, (this.faults.get(kind) ?? 0) + 1);
    this.note(`FAULT ${kind}`, ...details);
  }

  traceHash(): string {
    return this.#hash.copy().digest('hex');
  }

  /** The newest lines of the trace. */
  history(): readonly string[] {
    return this.#lines.slice(-keptLines);
  }

  async runUntil(end: number): Promise<void> {
    for (;;) {
      await settled();
      const next = this.clock.nextTimerAt();
      if (next === undefined || next > end) break;
      this.clock.advance(Math.max(0, next - this.now));
      // Adding a difference may fall short of the timer by the last bit.
      if (this.clock.nextTimerAt() === next) this.clock.advance(0.001);
    }
    this.clock.advance(Math.max(0, end - this.now));
    await settled();
  }
}

/** Resolves when every promise job that could run has run. */
export function settled(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}
