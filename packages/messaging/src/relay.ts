/**
 * The relay: publishes outbox rows in order, in batches, and marks them only after the confirm.
 *
 *   idle --wake or sweep--> reading --rows--> publishing --confirmed--> marking --> resting --> reading
 *   reading --none--> idle        publishing or marking --failed--> backing off --> reading
 *
 * Resting is for whoever shares the machine (`restMs`): the longer, the more rows go with one publish and one mark.
 *
 * A crash between confirm and mark publishes a batch again with the same ids: consumers dedupe by inbox or by state.
 * One relay per outbox; two would publish everything twice, not lose anything. A failure stops everything behind it; `keyed-relay.ts` is the one
 * that stops a key only, and that several processes may run.
 */
import type { Bus } from './bus.ts';
import { type Clock, pause } from './clock.ts';
import { type Log, safeLog } from './log.ts';
import type { OutboxSource } from './outbox.ts';
import { COUNT, DRAIN_MS, refuseBadNumbers, SPAN_MS } from './sound-numbers.ts';
import { withDefaults } from './with-defaults.ts';
import { WorkLoop } from './work-loop.ts';

export interface RelayOptions {
  readonly source: OutboxSource;
  readonly bus: Pick<Bus, 'forward'>;
  readonly clock: Clock;
  readonly log?: Log;
  /** Rows per publish, 1 to 10,000. Default 500. */
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
  /**
   * Publishes what is there, beginning no batch after `drainMs` (default 5,000), and stops. Resolves when nothing is under way; a publish that the engine does not
   * answer is waited for 5 s more and then left to itself: it may be published again by whoever comes next. A second call joins the first.
   */
  stop(options?: { readonly drainMs?: number }): Promise<void>;
  view(): { readonly published: number; readonly failures: number; readonly lastError: string | undefined };
}

export const DEFAULT_DRAIN_MS = 5_000;
/** Of rows in one batch. A store marks what was published after the publish, in one statement: a batch that its database cannot take there would be published for ever. */
const MOST_ROWS = 10_000;
export const RELAY_RULES = {
  batchSize: { ...COUNT, to: MOST_ROWS },
  sweepMs: SPAN_MS,
  backOffMs: SPAN_MS,
} as const;

/** Throws DB_MSG_INVALID_OPTIONS for a number that is none or out of its bounds. */
export function createRelay(options: RelayOptions): Relay {
  return new OutboxRelay(options);
}

export function tellStuck(log: Log): void {
  log.warn({}, 'the relay stops while its last publish is still under way; it may be published again');
}

export function tellFailure(log: Log, error: string): void {
  log.warn({ error }, 'the relay could not publish; it will try again');
}

class OutboxRelay implements Relay {
  readonly #options: Required<RelayOptions>;
  readonly #loop: WorkLoop;
  #published = 0;

  constructor(options: RelayOptions) {
    this.#options = withDefaults(
      { ...options, log: safeLog(options.log) },
      {
        batchSize: 500,
        sweepMs: 1_000,
        restMs: () => 0,
        backOffMs: 200,
      },
    );
    refuseBadNumbers('a relay', this.#options, RELAY_RULES);
    this.#loop = new WorkLoop({
      ...this.#options,
      step: () => this.#relayBatch(),
      onFailure: (error) => tellFailure(this.#options.log, error),
    });
  }

  start(): void {
    this.#loop.start();
  }

  wake(): void {
    this.#loop.wake();
  }

  async stop({ drainMs = DEFAULT_DRAIN_MS }: { readonly drainMs?: number } = {}): Promise<void> {
    refuseBadNumbers('the stop of a relay', { drainMs }, { drainMs: DRAIN_MS });
    if (!(await this.#loop.drain(drainMs))) tellStuck(this.#options.log);
  }

  view(): { published: number; failures: number; lastError: string | undefined } {
    return { published: this.#published, failures: this.#loop.failures, lastError: this.#loop.lastError };
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
    if (ms > 0) await pause(this.#options.clock, ms, this.#loop.hurry);
  }
}
