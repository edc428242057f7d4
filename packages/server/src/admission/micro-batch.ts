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

interface Waiting {
  readonly command: AdmissionCommand;
  readonly resolve: (answer: AdmissionAnswer) => void;
  readonly reject: (error: unknown) => void;
}

export class MicroBatch {
  readonly #options: MicroBatchOptions;
  /** How many commands of a member are buffered or sent: while there are any, nobody may answer for the ledger. */
  readonly #underWay = new Map<MemberKey, number>();
  #buffer: Waiting[] = [];
  #outstanding = 0;
  #deferred = false;
  #idle: (() => void)[] = [];

  constructor(options: MicroBatchOptions) {
    this.#options = options;
  }

  /** Buffered, not yet sent. */
  get waiting(): number {
    return this.#buffer.length;
  }

  isUnderWay(memberKey: MemberKey): boolean {
    return this.#underWay.has(memberKey);
  }

  submit(command: AdmissionCommand): Promise<AdmissionAnswer> {
    if (this.#buffer.length >= this.#options.limit) {
      return Promise.reject(new OperationalError('ADMISSION_FULL', { retryAfterMs: 1_000 }));
    }
    return new Promise((resolve, reject) => {
      this.#underWay.set(command.memberKey, (this.#underWay.get(command.memberKey) ?? 0) + 1);
      this.#buffer.push({ command, resolve, reject });
      this.#wake();
    });
  }

  /** Resolves when nothing is buffered or sent. */
  settled(): Promise<void> {
    if (this.#buffer.length === 0 && this.#outstanding === 0) return Promise.resolve();
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
    if (this.#buffer.length === 0 || this.#outstanding >= mostOutstanding) return false;
    return this.#outstanding === 0 || this.#buffer.length >= worthSecond;
  }

  #send(): void {
    const batch = this.#buffer.length <= largestBatch ? this.#buffer : this.#buffer.slice(0, largestBatch);
    this.#buffer = this.#buffer.length <= largestBatch ? [] : this.#buffer.slice(largestBatch);
    this.#outstanding += 1;
    const sentAt = this.#options.clock.monotonic();
    const commands = batch.map((waiting) => waiting.command);
    this.#options.admit(commands).then(
      (answers) => this.#answered(batch, commands, answers, this.#options.clock.monotonic() - sentAt),
      (error: unknown) => this.#failed(batch, error),
    );
  }

  #answered(
    batch: readonly Waiting[],
    commands: readonly AdmissionCommand[],
    answers: readonly AdmissionAnswer[],
    ms: number,
  ): void {
    this.#options.onAnswers(commands, answers, ms);
    this.#leave(batch);
    for (let i = 0; i < batch.length; i += 1) {
      const answer = answers[i];
      if (answer) batch[i]!.resolve(answer);
      else batch[i]!.reject(new Error('the ledger gave fewer answers than it was asked'));
    }
  }

  #failed(batch: readonly Waiting[], error: unknown): void {
    this.#leave(batch);
    for (const waiting of batch) waiting.reject(error);
  }

  #leave(batch: readonly Waiting[]): void {
    for (const { command } of batch) {
      const count = this.#underWay.get(command.memberKey) ?? 0;
      if (count > 1) this.#underWay.set(command.memberKey, count - 1);
      else this.#underWay.delete(command.memberKey);
    }
    this.#outstanding -= 1;
    while (this.#mayLeave()) this.#send();
    if (this.#outstanding > 0 || this.#buffer.length > 0) return;
    const idle = this.#idle;
    this.#idle = [];
    for (const resolve of idle) resolve();
  }
}
