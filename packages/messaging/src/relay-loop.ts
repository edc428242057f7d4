/**
 * What every relay has in common: a step that is repeated while it finds work, woken by a doorbell or by its own sweep, and backing off
 * when it fails.
 *
 *   idle --wake or sweep--> stepping --more--> stepping        stepping --none--> idle        stepping --failed--> backing off --> stepping
 *
 * It knows neither rows nor buses; `relay.ts` and `keyed-relay.ts` say what a step is.
 */
import { describeError } from './attempts.ts';
import { type CancelTimer, type Clock, pause } from './clock.ts';
import type { Log } from './log.ts';

export interface RelayLoopOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly sweepMs: number;
  readonly backOffMs: number;
  /** True when there may be more. A throw is a failure: it is logged, and the step is tried again after a wait. */
  readonly step: () => Promise<boolean>;
}

const LONGEST_BACK_OFF = 30;

/** The wait before the next attempt after so many failures in a row, ms. */
export function backOffAfter(failuresBefore: number, backOffMs: number): number {
  return backOffMs * Math.min(2 ** failuresBefore, LONGEST_BACK_OFF);
}

export class RelayLoop {
  readonly #options: RelayLoopOptions;
  #running: Promise<void> | undefined;
  #state: 'new' | 'running' | 'stopping' | 'stopped' = 'new';
  #rung = false;
  #failures = 0;
  #failedInARow = 0;
  #lastError: string | undefined;
  #cancelSweep: CancelTimer = () => {};
  readonly #stop = new AbortController();
  readonly #hurry = new AbortController();

  constructor(options: RelayLoopOptions) {
    this.#options = options;
  }

  /** Aborted when a stop was asked for: what is there is still worked off, but nothing rests. */
  get hurry(): AbortSignal {
    return this.#hurry.signal;
  }

  get failures(): number {
    return this.#failures;
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

  async stop(drainMs: number): Promise<void> {
    if (this.#state !== 'running') return;
    this.#state = 'stopping';
    this.#cancelSweep();
    this.#rung = true;
    this.#hurry.abort();
    if (!this.#running) this.#run();
    const drained = new AbortController();
    await Promise.race([this.#running, pause(this.#options.clock, drainMs, drained.signal)]);
    drained.abort();
    this.#state = 'stopped';
    this.#stop.abort();
    await this.#running;
  }

  #sweep(): void {
    this.#cancelSweep = this.#options.clock.setTimer(this.#options.sweepMs, () => {
      this.wake();
      this.#sweep();
    });
  }

  #run(): void {
    this.#running = this.#work().finally(() => {
      this.#running = undefined;
      if (this.#rung && this.#state === 'running') this.#run();
    });
  }

  async #work(): Promise<void> {
    while (this.#rung && !this.#stop.signal.aborted) {
      this.#rung = false;
      try {
        while (!this.#stop.signal.aborted && (await this.#options.step())) this.#failedInARow = 0;
      } catch (error) {
        await this.#backOff(error);
      }
    }
  }

  async #backOff(error: unknown): Promise<void> {
    this.#failures += 1;
    this.#lastError = describeError(error);
    this.#options.log.warn({ error: this.#lastError }, 'the relay could not publish; it will try again');
    const wait = backOffAfter(this.#failedInARow, this.#options.backOffMs);
    this.#failedInARow += 1;
    this.#rung = true;
    await pause(this.#options.clock, wait, this.#stop.signal);
  }
}
