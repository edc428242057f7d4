/**
 * The relay: publishes outbox rows in order, in batches, and marks them only after the confirm.
 *
 *   idle --wake or sweep--> reading --rows--> publishing --confirmed--> marking --> resting --> reading
 *   reading --none--> idle        publishing or marking --failed--> backing off --> reading
 *
 * Resting is for whoever shares the machine (`restMs`): the longer, the more rows go with one publish and one mark.
 *
 * A crash between confirm and mark publishes a batch again with the same ids: consumers dedupe by inbox or by state.
 * One relay per outbox; two would publish everything twice, not lose anything.
 */
import type { Bus } from './bus.ts';
import { type CancelTimer, type Clock, pause } from './clock.ts';
import { type Log, silentLog } from './log.ts';
import type { OutboxSource } from './outbox.ts';
import { describeError } from './attempts.ts';

export interface RelayOptions {
  readonly source: OutboxSource;
  readonly bus: Pick<Bus, 'forward'>;
  readonly clock: Clock;
  readonly log?: Log;
  /** Rows per publish. Default 500. */
  readonly batchSize?: number;
  /** Looks by itself this often, ms, in case a doorbell was missed. Default 1,000. */
  readonly sweepMs?: number;
  /** Asked after each batch: the next one is read so many ms later. Default 0: at once. */
  readonly restMs?: () => number;
  /** First wait after a failure, ms; doubled up to 30 times it. Default 200. */
  readonly backOffMs?: number;
}

export interface Relay {
  start(): void;
  /** Doorbell: there may be rows. Cheap; ring after each commit that appended. */
  wake(): void;
  /** Publishes what is there and stops; resolves when nothing is under way, after `drainMs` (default 5,000) at the latest. */
  stop(options?: { readonly drainMs?: number }): Promise<void>;
  view(): { readonly published: number; readonly failures: number; readonly lastError: string | undefined };
}

const LONGEST_BACK_OFF = 30;

export function createRelay(options: RelayOptions): Relay {
  return new OutboxRelay(options);
}

class OutboxRelay implements Relay {
  readonly #options: Required<RelayOptions>;
  #running: Promise<void> | undefined;
  #state: 'new' | 'running' | 'stopping' | 'stopped' = 'new';
  #rung = false;
  #published = 0;
  #failures = 0;
  #failedInARow = 0;
  #lastError: string | undefined;
  #cancelSweep: CancelTimer = () => {};
  readonly #stop = new AbortController();
  /** Ends a rest early: a stop publishes what is there without one. */
  readonly #hurry = new AbortController();

  constructor(options: RelayOptions) {
    this.#options = {
      log: silentLog,
      batchSize: 500,
      sweepMs: 1_000,
      restMs: () => 0,
      backOffMs: 200,
      ...options,
    };
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

  async stop({ drainMs = 5_000 }: { readonly drainMs?: number } = {}): Promise<void> {
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

  view(): { published: number; failures: number; lastError: string | undefined } {
    return { published: this.#published, failures: this.#failures, lastError: this.#lastError };
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
        while (!this.#stop.signal.aborted && (await this.#relayBatch())) this.#failedInARow = 0;
      } catch (error) {
        await this.#backOff(error);
      }
    }
  }

  /** True when a full batch was there, so that there may be more. */
  async #relayBatch(): Promise<boolean> {
    const { source, bus, batchSize } = this.#options;
    const rows = await source.readUnpublished(batchSize);
    const last = rows.at(-1);
    if (!last) return false;
    await bus.forward(rows);
    await source.markPublished(last.number);
    this.#published += rows.length;
    await this.#rest();
    return rows.length === batchSize;
  }

  async #rest(): Promise<void> {
    const ms = this.#options.restMs();
    if (ms > 0) await pause(this.#options.clock, ms, this.#hurry.signal);
  }

  async #backOff(error: unknown): Promise<void> {
    this.#failures += 1;
    this.#lastError = describeError(error);
    this.#options.log.warn({ error: this.#lastError }, 'the relay could not publish; it will try again');
    const wait = this.#options.backOffMs * Math.min(2 ** this.#failedInARow, LONGEST_BACK_OFF);
    this.#failedInARow += 1;
    this.#rung = true;
    await pause(this.#options.clock, wait, this.#stop.signal);
  }
}
