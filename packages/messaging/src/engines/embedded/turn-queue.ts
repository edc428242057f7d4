/**
 * Gathers operations into turns. A turn takes whatever has gathered while others were written (group commit without a timer); its answer resolves the
 * operations and brings the next deliveries. It also wakes the writer when something falls due.
 *
 * Where it pays (`turn-pace.ts`) much work goes as two turns that follow each other: each at most half of what is asked and not answered, and sent as soon as so
 * much has gathered. Where commits are slow one turn is out at a time, and the next takes what this one's answer brings about as well.
 */
import type { CancelTimer, Clock } from '../../clock.ts';
import { MessagingError } from '../../errors.ts';
import { LEAST_SHARE, TurnPace } from './turn-pace.ts';
import type { Operation, OperationValue, TurnReply, Writer } from './turn.ts';

/** A turn stays short, or one large publish would hold up every settlement. */
const ROWS_PER_TURN = 4_000;
const CHARACTERS_PER_TURN = 8 * 2 ** 20;
/** Two: one is being written while the next is on its way. Safe, because the writer decides serially. */
const TURNS_OUTSTANDING = 2;
/** Promises that a publisher or a handler passes until it asks again; one that takes more goes with a later turn. */
const PROMISES_OF_AN_ANSWER = 16;
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
  readonly rows: number;
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
}

export class TurnQueue {
  readonly #parts: TurnQueueParts;
  #pending: Pending[] = [];
  #pendingRows = 0;
  #outstanding = 0;
  #outstandingRows = 0;
  #flushPlanned = false;
  readonly #pace = new TurnPace();
  #cancelWake: CancelTimer | undefined;
  #resting = false;
  #lost = false;
  #endedAt = 0;
  readonly #idleWaiters: (() => void)[] = [];

  constructor(parts: TurnQueueParts) {
    this.#parts = parts;
  }

  /** When the last reply came, ms since the epoch: one look at the clock for all that it confirms. */
  get endedAt(): number {
    return this.#endedAt;
  }

  ask<O extends Operation>(operation: O): Promise<OperationValue[O['op']]> {
    return new Promise((resolve, reject) => {
      const rows = rowsOf(operation);
      this.#pending.push({ operation, rows, resolve: resolve as (value: never) => void, reject });
      this.#pendingRows += rows;
      if (this.#order() === 'divided' && this.#pendingRows >= this.#share()) this.#flush();
      else this.#planFlush();
    });
  }

  /** Wakes nobody any more; what is asked is still done. */
  rest(): void {
    this.#resting = true;
    this.#cancelWake?.();
    this.#cancelWake = undefined;
  }

  /** Resolves when everything asked so far is answered. */
  idle(): Promise<void> {
    if (this.#isIdle) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  get #isIdle(): boolean {
    return this.#pending.length === 0 && this.#outstanding === 0;
  }

  #tellIdle(): void {
    if (this.#isIdle) for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }

  #order(): 'divided' | 'gathered' | undefined {
    return this.#pace.orderFor(this.#pendingRows + this.#outstandingRows);
  }

  /** Rows of the next turn. */
  #share(): number {
    if (this.#order() !== 'divided') return ROWS_PER_TURN;
    const half = Math.ceil((this.#pendingRows + this.#outstandingRows) / 2);
    return Math.max(LEAST_SHARE, Math.min(half, ROWS_PER_TURN));
  }

  /** After the current task: what is asked in the same tick shares a turn. Later by so many promises, if given. */
  #planFlush(promises = 1): void {
    if (this.#flushPlanned) return;
    this.#flushPlanned = true;
    const wait = (left: number): void => {
      if (left > 0) return queueMicrotask(() => wait(left - 1));
      this.#flushPlanned = false;
      if (this.#pending.length > 0) this.#flush();
    };
    wait(promises);
  }

  #flush(): void {
    const order = this.#order();
    if (this.#outstanding >= (order === 'gathered' ? 1 : TURNS_OUTSTANDING)) return;
    const { writer, clock } = this.#parts;
    const batch = this.#takeBatch();
    const rows = batch.reduce((sum, one) => sum + one.rows, 0);
    this.#outstanding += 1;
    this.#pendingRows -= rows;
    this.#outstandingRows += rows;
    const monotonic = clock.monotonic();
    this.#pace.sent(rows, monotonic);
    const operations = batch.map((one) => one.operation);
    const turn = { now: clock.now(), monotonic, operations };
    writer.run(turn).then(
      (reply) => this.#ended(batch, rows, reply),
      (error: Error) => this.#failed(batch, rows, error),
    );
  }

  #takeBatch(): Pending[] {
    const share = this.#share();
    let rows = 0;
    let characters = 0;
    let count = 0;
    while (count < this.#pending.length && rows < share && characters < CHARACTERS_PER_TURN) {
      const one = this.#pending[count] as Pending;
      if (one.operation.op === 'publish')
        for (const { body } of one.operation.rows) characters += body.length;
      rows += one.rows;
      count += 1;
    }
    return this.#pending.splice(0, count);
  }

  #ended(batch: readonly Pending[], rows: number, reply: TurnReply): void {
    this.#outstanding -= 1;
    this.#outstandingRows -= rows;
    this.#endedAt = this.#parts.clock.now();
    this.#pace.answered(reply.commitMs, this.#parts.clock.monotonic());
    batch.forEach((pending, index) => {
      const result = reply.results[index];
      if (result && 'value' in result) pending.resolve(result.value as never);
      else if (result) pending.reject(new MessagingError(result.error.code, result.error.message));
    });
    // First, because handling takes its time: when there is more to hand out, the writer does it meanwhile.
    this.#planWake(reply);
    if (reply.handOuts.length > 0) this.#parts.onHandOuts(reply.handOuts);
    if (this.#pending.length > 0) this.#planFlush(this.#order() === 'gathered' ? PROMISES_OF_AN_ANSWER : 1);
    else this.#tellIdle();
  }

  #failed(batch: readonly Pending[], rows: number, error: Error): void {
    this.#outstanding -= 1;
    this.#outstandingRows -= rows;
    const cause =
      error instanceof MessagingError
        ? error
        : new MessagingError('DB_MSG_ENGINE_FAILED', `the store failed: ${error.message}`, { cause: error });
    for (const pending of batch) pending.reject(cause);
    for (const pending of this.#pending.splice(0)) pending.reject(cause);
    this.#pendingRows = 0;
    this.#cancelWake?.();
    this.#tellIdle();
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

/** What an operation counts as in the length of a turn. */
function rowsOf(operation: Operation): number {
  if (operation.op === 'publish') return operation.rows.length;
  return operation.op === 'settle' ? operation.settlements.length : 1;
}
