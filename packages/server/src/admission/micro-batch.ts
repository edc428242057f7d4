/**
 * The micro-batch of one campaign: a bounded buffer in front of the ledger. It is sent as soon as the last batch has come back, without a
 * timer; what arrived in the meantime is the next batch. Two may be outstanding, because the ledger decides them serially.
 *
 *   idle --submit--> (end of this turn of the event loop) --> sent --> answered --> sent again while anything waits
 *
 * A second batch leaves only when it is worth its trip (`worthSecond`): small ones ride with the next. Each campaign has its own buffer and its own two
 * batches, so a hot one delays a cold one by at most the two batches that stand before it in the writer.
 */
import type { MemberKey } from '@doorbuster/core';
import type { Clock } from '@doorbuster/messaging';
import { OperationalError } from '../errors.ts';
import type { AdmissionAnswer, AdmissionCommand } from '../ledger.ts';

/** Runs `fn` when the requests that already arrived have been read. */
export type Defer = (fn: () => void) => void;

export interface MicroBatchOptions {
  readonly admit: (commands: readonly AdmissionCommand[]) => Promise<readonly AdmissionAnswer[]>;
  /** Commands waiting at most; beyond it `submit` refuses with ADMISSION_FULL. */
  readonly limit: number;
  readonly clock: Clock;
  readonly defer: Defer;
  /** Told of each batch that came back, before any of its answers is given: the index of members is brought up to date here. */
  readonly onAnswers: (
    commands: readonly AdmissionCommand[],
    answers: readonly AdmissionAnswer[],
    ms: number,
  ) => void;
}

const largestBatch = 512;
const mostOutstanding = 2;
const worthSecond = 64;

/** Who waits for the answer to one command: an object and not a promise, which would cost a request more than its decision does. */
export interface Waiter {
  /** Called once, in the turn in which the batch came back, in the order of the batch. Must not throw: others wait behind it. */
  answered(answer: AdmissionAnswer): void;
  /** Called once instead, with an OperationalError or a bug. Must not throw. */
  failed(error: unknown): void;
}

interface Batch {
  readonly commands: readonly AdmissionCommand[];
  /** In the order of the commands. */
  readonly waiters: readonly Waiter[];
}

export class MicroBatch {
  readonly #options: MicroBatchOptions;
  /** How many commands of a member are buffered or sent: while there are any, nobody may answer for the ledger. */
  readonly #underWay = new Map<MemberKey, number>();
  #commands: AdmissionCommand[] = [];
  #waiters: Waiter[] = [];
  #outstanding = 0;
  #deferred = false;
  #idle: (() => void)[] = [];

  constructor(options: MicroBatchOptions) {
    this.#options = options;
  }

  /** Buffered, not yet sent. */
  get waiting(): number {
    return this.#commands.length;
  }

  /** True when no more may wait. */
  get isFull(): boolean {
    return this.#commands.length >= this.#options.limit;
  }

  isUnderWay(memberKey: MemberKey): boolean {
    return this.#underWay.has(memberKey);
  }

  /** Throws ADMISSION_FULL when no more may wait; then nothing was decided and nobody is told. */
  submit(command: AdmissionCommand, waiter: Waiter): void {
    if (this.isFull) throw new OperationalError('ADMISSION_FULL', { retryAfterMs: 1_000 });
    this.#underWay.set(command.memberKey, (this.#underWay.get(command.memberKey) ?? 0) + 1);
    this.#commands.push(command);
    this.#waiters.push(waiter);
    this.#wake();
  }

  /** Resolves when nothing is buffered or sent. */
  settled(): Promise<void> {
    if (this.#commands.length === 0 && this.#outstanding === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  #wake(): void {
    if (this.#deferred || !this.#mayLeave()) return;
    this.#deferred = true;
    this.#options.defer(() => {
      this.#deferred = false;
      while (this.#mayLeave()) this.#send();
    });
  }

  #mayLeave(): boolean {
    if (this.#commands.length === 0 || this.#outstanding >= mostOutstanding) return false;
    return this.#outstanding === 0 || this.#commands.length >= worthSecond;
  }

  #send(): void {
    const batch = this.#take();
    this.#outstanding += 1;
    const sentAt = this.#options.clock.monotonic();
    this.#options.admit(batch.commands).then(
      (answers) => this.#answered(batch, answers, this.#options.clock.monotonic() - sentAt),
      (error: unknown) => this.#failed(batch, error),
    );
  }

  /** The oldest that fit into one batch leave the buffer. */
  #take(): Batch {
    const [commands, waiters] = [this.#commands, this.#waiters];
    this.#commands = commands.length <= largestBatch ? [] : commands.slice(largestBatch);
    this.#waiters = waiters.length <= largestBatch ? [] : waiters.slice(largestBatch);
    if (commands.length <= largestBatch) return { commands, waiters };
    return { commands: commands.slice(0, largestBatch), waiters: waiters.slice(0, largestBatch) };
  }

  #answered({ commands, waiters }: Batch, answers: readonly AdmissionAnswer[], ms: number): void {
    this.#options.onAnswers(commands, answers, ms);
    this.#leave(commands);
    for (let i = 0; i < waiters.length; i += 1) {
      const answer = answers[i];
      if (answer) waiters[i]!.answered(answer);
      else waiters[i]!.failed(new Error('the ledger gave fewer answers than it was asked'));
    }
  }

  #failed({ commands, waiters }: Batch, error: unknown): void {
    this.#leave(commands);
    for (const waiter of waiters) waiter.failed(error);
  }

  #leave(commands: readonly AdmissionCommand[]): void {
    for (const { memberKey } of commands) {
      const count = this.#underWay.get(memberKey) ?? 0;
      if (count > 1) this.#underWay.set(memberKey, count - 1);
      else this.#underWay.delete(memberKey);
    }
    this.#outstanding -= 1;
    while (this.#mayLeave()) this.#send();
    if (this.#outstanding > 0 || this.#commands.length > 0) return;
    const idle = this.#idle;
    this.#idle = [];
    for (const resolve of idle) resolve();
  }
}
