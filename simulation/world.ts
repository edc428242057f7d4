/**
 * The world of one seed: the clock, the trace, one stream of randomness per part, the count of faults and of what was reached. Production code
 * runs in it unchanged: everything it waits for is a timer here or a promise that a timer settles.
 */
import { hash } from 'node:crypto';
import { SimulatedClock } from './clock.ts';
import { Coverage } from './coverage.ts';
import { type CallFault, type FaultKind, faultKinds } from './fault-kinds.ts';
import { Seeded } from './seeded.ts';

export class World {
  readonly seed: string;
  readonly clock: SimulatedClock;
  readonly coverage = new Coverage();
  readonly faults = new Map<FaultKind, number>();
  /** False before the start and once the calm began: then nothing breaks. */
  faulty = false;
  /** Faults of calls that are left out of this run: for shortening a history. */
  readonly #without: ReadonlySet<FaultKind>;
  readonly #root: Seeded;
  readonly #storms = new Map<FaultKind, number>();
  readonly #outages = new Map<FaultKind, { readonly from: number; readonly to: number }>();
  readonly #lines: string[] = [];
  /** The phases of the lanes now, for the coverage of faults by phase. */
  phases: () => readonly string[] = () => [];

  constructor(seed: string, without: ReadonlySet<FaultKind> = new Set()) {
    this.seed = seed;
    this.#without = without;
    this.#root = new Seeded(seed);
    this.clock = new SimulatedClock(Date.UTC(2027, 0, 4, 0, 59, 0));
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

  /** Share of the calls to this far end that go wrong in this run: mostly few, sometimes most, none in the calm. */
  storm(kind: CallFault): number {
    if (!this.faulty || this.#without.has(kind)) return 0;
    let share = this.#storms.get(kind);
    if (share === undefined) {
      const random = this.random(`storm ${kind}`);
      share = random.chance(0.25) ? 0.3 + random.share() * 0.4 : 0.02 + random.share() * 0.2;
      this.#storms.set(kind, share);
    }
    return share;
  }

  /** In some runs this far end is out for some seconds of the rush and refuses nearly everything. */
  isOut(kind: CallFault): boolean {
    if (this.storm(kind) === 0) return false;
    let outage = this.#outages.get(kind);
    if (outage === undefined) {
      const random = this.random(`outage ${kind}`);
      const from = random.chance(0.3) ? random.integer(8_000, 40_000) : Number.POSITIVE_INFINITY;
      outage = { from, to: from + random.integer(3_000, 28_000) };
      this.#outages.set(kind, outage);
    }
    return this.now >= outage.from && this.now < outage.to;
  }

  /** One line of the trace: what was seen from outside, never a secret or an object's address. */
  note(what: string, ...details: readonly (string | number | boolean | null)[]): void {
    this.#lines.push(`${this.now.toFixed(3)} ${what} ${details.join(' ')}`);
  }

  fault(kind: FaultKind, ...details: readonly (string | number)[]): void {
    this.faults.set(kind, (this.faults.get(kind) ?? 0) + 1);
    for (const phase of this.phases()) this.coverage.see('fault', `${kind} while ${phase}`);
    this.note(`FAULT ${kind}`, ...details);
  }

  get faultCount(): number {
    let sum = 0;
    for (const kind of faultKinds) sum += this.faults.get(kind) ?? 0;
    return sum;
  }

  traceHash(): string {
    return hash('sha256', this.#lines.join('\n'));
  }

  history(): readonly string[] {
    return this.#lines;
  }
}
