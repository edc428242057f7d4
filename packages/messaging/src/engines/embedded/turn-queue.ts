/**
 * Gathers operations into turns. A turn is sent as soon as the last one has ended and takes whatever has gathered meanwhile (group commit
 * without a timer); its answer resolves the operations and brings the next deliveries. It also wakes the writer when something falls due.
 */
import type { CancelTimer, Clock } from '../../clock.ts';
import { MessagingError } from '../../errors.ts';
import type { Operation, OperationValue, TurnReply, Writer } from './turn.ts';

/** A turn stays short, or one large publish would hold up every settlement. */
const ROWS_PER_TURN = 4_000;
const CHARACTERS_PER_TURN = 8 * 2 ** 20;
/** Two: one is being written while the next is on its way. Safe, because the writer decides serially. */
const TURNS_OUTSTANDING = 2;
/** Looked at least this often, so that a step of the wall clock is noticed. */
const LONGEST_WAIT_MS = 60_000;

export interface TurnQueueParts {
  readonly writer: Writer;
  readonly clock: Clock;
  readonly onHandOuts: (handOuts: TurnReply['handOuts']) => void;
  /** Called once, when the store is lost; every operation then rejects with this error. */
  readonly onLost: (error: MessagingError) => void;
}

interface Pending {
  readonly operation: Operation;
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
}

export class TurnQueue {
  readonly #parts: TurnQueueParts;
  #pending: Pending[] = [];
  #outstanding = 0;
  #flushPlanned = false;
  #cancelWake: CancelTimer | undefined;
  #resting = false;
  #lost = false;
  #endedAt = 0;

  constructor(parts: TurnQueueParts) {
    this.#parts = parts;
  }

  /** When the last reply came, ms since the epoch: one look at the clock for all that it confirms. */
  get endedAt(): number {
    return this.#endedAt;
  }

  ask<O extends Operation>(operation: O): Promise<OperationValue[O['op']]> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ operation, resolve: resolve as (value: never) => void, reject });
      this.#planFlush();
    });
  }

  /** Wakes nobody any more; what is asked is still done. */
  rest(): void {
    this.#resting = true;
    this.#cancelWake?.();
    this.#cancelWake = undefined;
  }

  /** After the current task: what is asked in the same tick shares a turn. */
  #planFlush(): void {
    if (this.#flushPlanned) return;
    this.#flushPlanned = true;
    queueMicrotask(() => {
      this.#flushPlanned = false;
      if (this.#pending.length > 0) this.#flush();
    });
  }

  #flush(): void {
    if (this.#outstanding >= TURNS_OUTSTANDING) return;
    const { writer, clock } = this.#parts;
    const batch = this.#takeBatch();
    this.#outstanding += 1;
    const turn = {
      now: clock.now(),
      monotonic: clock.monotonic(),
      operations: batch.map((one) => one.operation),
    };
    writer.run(turn).then(
      (reply) => this.#ended(batch, reply),
      (error: Error) => this.#failed(batch, error),
    );
  }

  #takeBatch(): Pending[] {
    let rows = 0;
    let characters = 0;
    let count = 0;
    while (count < this.#pending.length && rows < ROWS_PER_TURN && characters < CHARACTERS_PER_TURN) {
      const { operation } = this.#pending[count] as Pending;
      if (operation.op === 'publish') {
        rows += operation.rows.length;
        for (const { body } of operation.rows) characters += body.length;
      } else rows += operation.op === 'settle' ? operation.settlements.length : 1;
      count += 1;
    }
    return this.#pending.splice(0, count);
  }

  #ended(batch: readonly Pending[], reply: TurnReply): void {
    this.#outstanding -= 1;
    this.#endedAt = this.#parts.clock.now();
    batch.forEach((pending, index) => {
      const result = reply.results[index];
      if (result && 'value' in result) pending.resolve(result.value as never);
      else if (result) pending.reject(new MessagingError(result.error.code, result.error.message));
    });
    if (reply.handOuts.length > 0) this.#parts.onHandOuts(reply.handOuts);
    this.#planWake(reply);
    if (this.#pending.length > 0) this.#planFlush();
  }

  #failed(batch: readonly Pending[], error: Error): void {
    this.#outstanding -= 1;
    const cause =
      error instanceof MessagingError
        ? error
        : new MessagingError('DB_MSG_ENGINE_FAILED', `the store failed: ${error.message}`, { cause: error });
    for (const pending of batch) pending.reject(cause);
    for (const pending of this.#pending.splice(0)) pending.reject(cause);
    this.#cancelWake?.();
    if (this.#lost) return;
    this.#lost = true;
    this.#parts.onLost(cause);
  }

  #planWake(reply: TurnReply): void {
    this.#cancelWake?.();
    this.#cancelWake = undefined;
    if (this.#resting) return;
    const { clock } = this.#parts;
    const untilDue = reply.nextDueAt === undefined ? Number.POSITIVE_INFINITY : reply.nextDueAt - clock.now();
    const untilLease =
      reply.nextLeaseEnd === undefined ? Number.POSITIVE_INFINITY : reply.nextLeaseEnd - clock.monotonic();
    const wait = Math.min(untilDue, untilLease);
    if (wait === Number.POSITIVE_INFINITY) return;
    const ms = Math.max(0, Math.min(wait, LONGEST_WAIT_MS));
    if (ms === 0 && this.#outstanding === 0) return this.#flush();
    this.#cancelWake = clock.setTimer(ms, () => this.#flush());
  }
}
