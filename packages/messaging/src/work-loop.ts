/**
 * What works in the background has in common (relays, projections, sagas): a step that is repeated while it finds work, woken by a doorbell or by its own sweep,
 * and backing off when it fails.
 *
 *   idle --wake or sweep--> stepping --more--> stepping        stepping --none--> idle        stepping --failed--> backing off --> stepping
 *
 * It knows no rows, buses or databases; whoever uses it says what a step is. Steps run outside of whatever rang: a doorbell rung inside a transaction, or
 * a span, must not lend it to work that outlives it. Between steps the event loop gets its turn (`turns.ts`).
 */
import { describeError } from './errors.ts';
import { AsyncLocalStorage } from 'node:async_hooks';
import { type CancelTimer, type Clock, pause } from './clock.ts';
import { Turns } from './turns.ts';

export interface WorkLoopOptions {
  readonly clock: Clock;
  readonly sweepMs: number;
  /** First wait after a failure, ms; doubled up to 30 times it while it fails in a row. */
  readonly backOffMs: number;
  /** True when there may be more. A throw is a failure: it is told, and the step is tried again after a wait. */
  readonly step: () => Promise<boolean>;
  /** For the log. */
  readonly onFailure: (error: string) => void;
}

const LONGEST_BACK_OFF = 30;
/** What is under way when the time to drain is over gets so long to end: cut off, a batch would be published again. */
const LAST_STEP_MS = 5_000;

/** The wait before the next attempt after so many failures in a row, ms. */
export function backOffAfter(failuresBefore: number, backOffMs: number): number {
  return backOffMs * Math.min(2 ** failuresBefore, LONGEST_BACK_OFF);
}

/** Whether it ends within so many ms; it goes on by itself when it does not. Rejects with what it rejects with meanwhile. */
export async function endsWithin(clock: Clock, work: Promise<unknown>, ms: number): Promise<boolean> {
  const over = new AbortController();
  try {
    const ended = work.then(() => true);
    return await Promise.race([ended, pause(clock, ms, over.signal).then(() => false)]);
  } finally {
    over.abort();
  }
}

export class WorkLoop {
  readonly #options: WorkLoopOptions;
  /** Of the loop and not of one run of it: a step may ring for the next one at once. */
  readonly #turns: Turns;
  readonly #outside = AsyncLocalStorage.snapshot();
  readonly #stop = new AbortController();
  readonly #hurry = new AbortController();
  #running: Promise<void> | undefined;
  #drained: Promise<boolean> | undefined;
  #state: 'new' | 'running' | 'stopping' | 'stopped' = 'new';
  #rung = false;
  #failures = 0;
  #failedInARow = 0;
  #lastError: string | undefined;
  #cancelSweep: CancelTimer = () => {};

  constructor(options: WorkLoopOptions) {
    this.#options = options;
    this.#turns = new Turns(options.clock);
  }

  /** Aborted when a stop was asked for: what is there is still worked off, but nothing rests. */
  get hurry(): AbortSignal {
    return this.#hurry.signal;
  }

  get state(): 'new' | 'running' | 'stopped' {
    return this.#state === 'stopping' ? 'stopped' : this.#state;
  }

  get failures(): number {
    return this.#failures;
  }

  get isFailing(): boolean {
    return this.#failedInARow > 0;
  }

  get lastError(): string | undefined {
    return this.#lastError;
  }

  start(): void {
    if (this.#state !== 'new') return;
    this.#state = 'running';
    this.wake();
    this.#sweep();
  }

  wake(): void {
    this.#rung = true;
    if (this.#running || this.#state !== 'running') return;
    this.#run();
  }

  /**
   * Works off what is there, for at most so long, and ends after the step that is under way. False when that did not end within 5 s more: it goes on by itself
   * (`idle`). Whoever asks again meanwhile gets the answer of the first.
   */
  drain(drainMs: number): Promise<boolean> {
    if (this.#state === 'new') return Promise.resolve(true);
    this.#drained ??= this.#drain(drainMs);
    return this.#drained;
  }

  async #drain(drainMs: number): Promise<boolean> {
    if (this.#state === 'running') {
      this.#state = 'stopping';
      this.#cancelSweep();
      this.#rung = true;
      this.#hurry.abort();
      if (!this.#running) this.#run();
      await this.#idleWithin(drainMs);
    }
    this.#leave();
    await this.#idleWithin(LAST_STEP_MS);
    return this.#running === undefined;
  }

  /** Ends after the step that is under way, however long that takes. */
  async end(): Promise<void> {
    this.#leave();
    await this.#running;
  }

  /** When no step is under way. */
  async idle(): Promise<void> {
    await this.#running;
  }

  #leave(): void {
    this.#state = 'stopped';
    this.#cancelSweep();
    this.#hurry.abort();
    this.#stop.abort();
  }

  async #idleWithin(ms: number): Promise<void> {
    if (this.#running) await endsWithin(this.#options.clock, this.#running, ms);
  }

  #sweep(): void {
    this.#cancelSweep = this.#options.clock.setTimer(this.#options.sweepMs, () => {
      this.wake();
      this.#sweep();
    });
  }

  #run(): void {
    // It takes that back itself, and never in this very step: it has at least one to wait for.
    this.#running = this.#outside(() => this.#work());
  }

  async #work(): Promise<void> {
    try {
      while (this.#rung && !this.#stop.signal.aborted) {
        this.#rung = false;
        try {
          let more = true;
          while (more && !this.#stop.signal.aborted) {
            const turn = this.#turns.due();
            if (turn) await turn;
            if (this.#stop.signal.aborted) return;
            more = await this.#options.step();
            this.#failedInARow = 0;
          }
        } catch (error) {
          await this.#backOff(error);
        }
      }
    } finally {
      // In the step of the last look at `#rung`: whoever rings from now on begins a new run.
      this.#running = undefined;
    }
  }

  async #backOff(error: unknown): Promise<void> {
    this.#failures += 1;
    this.#lastError = describeError(error);
    this.#options.onFailure(this.#lastError);
    const wait = backOffAfter(this.#failedInARow, this.#options.backOffMs);
    this.#failedInARow += 1;
    this.#rung = true;
    await pause(this.#options.clock, wait, this.#stop.signal);
  }
}
