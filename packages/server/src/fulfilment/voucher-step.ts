/**
 * The second step of the saga: one voucher for the unit, whatever is known of earlier requests for it. The table of what an unknown outcome means
 * by class is in the header of `saga.ts`; this is the only code that acts on it.
 */
import type { Voucher } from '../ledger.ts';
import { backoffMs, jitterMs } from './backoff.ts';
import {
  type ClaimedRun,
  type Hung,
  LATER_SPREAD_MS,
  LOST,
  type Passage,
  type Paused,
  type Step,
} from './claimed-run.ts';
import type { ProviderGate } from './provider-gate.ts';
import type {
  CancelResult,
  IssueResult,
  QueryResult,
  VoucherRequest,
  VoucherSource,
} from './voucher-source.ts';

const never = new AbortController().signal;

export class VoucherStep {
  readonly #run: ClaimedRun;
  /** Rises with a confirmed cancel inside this run. */
  #generation: number;

  constructor(run: ClaimedRun) {
    this.#run = run;
    this.#generation = run.delivery.generation;
  }

  async obtain(): Promise<Step<Voucher>> {
    const { voucher, voucherState, definition } = this.#run.delivery;
    if (voucher) return { go: voucher };
    const name = definition.reward.voucherSource ?? 'pool';
    const entry = this.#run.ports.sources.get(name);
    if (!entry)
      return this.#run.parked(
        'source-missing',
        `There is no voucher source "${name}" in the configuration of this process.`,
      );
    const { source, gate } = entry;
    if (voucherState === 'none') return this.#ask(source, gate, 'fresh');
    switch (source.sourceClass) {
      case 'pool':
      case 'idempotent':
        return this.#ask(source, gate, 'again');
      case 'queryable':
        return this.#learn(source, gate);
      case 'neither':
        return this.#run.parked(
          'voucher-unknown',
          `It is not known whether "${name}" issued the voucher; a person has to look.`,
        );
    }
  }

  /** `fresh`: nothing was ever asked for this generation. `again`: something was, and its outcome is not known. */
  async #ask(source: VoucherSource, gate: ProviderGate, mode: 'fresh' | 'again'): Promise<Step<Voucher>> {
    const passage =
      source.sourceClass === 'pool'
        ? await this.#askPool(source, gate)
        : await this.#run.pass(
            gate,
            'issue',
            mode === 'fresh' ? { step: 'voucher-requested' } : null,
            (signal) => source.issue(this.#request(signal)),
          );
    if (passage.kind === 'lost') return LOST;
    if (passage.kind === 'paused')
      return this.#voucherLater(mode, source.name, 'paused', passage.reason, passage.retryAfterMs);
    const answer: IssueResult =
      passage.kind === 'hung'
        ? { result: 'unknown', errorCode: 'timeout', detail: passage.detail }
        : passage.value;
    switch (answer.result) {
      case 'issued':
        return source.sourceClass === 'pool'
          ? this.#issuedByLedger(answer.voucher)
          : this.#issued(answer.voucher);
      case 'refused':
        if (answer.retryAfterMs !== undefined) gate.backOff(answer.retryAfterMs);
        if (answer.permanent)
          return this.#run.parked(`voucher.${source.name}.${answer.errorCode}`, answer.detail);
        return this.#voucherFailed(mode, source.name, answer.errorCode, answer.detail, answer.retryAfterMs);
      case 'unknown':
        return this.#voucherFailed(
          'again',
          source.name,
          answer.errorCode,
          answer.detail,
          this.#flightLeftMs(source, true),
        );
    }
  }

  /** A queryable source after an unknown outcome. "Not found" is never trusted without a cancel: a late request may still land. */
  async #learn(source: VoucherSource, gate: ProviderGate): Promise<Step<Voucher>> {
    const left = this.#flightLeftMs(source, false);
    if (left > 0)
      return this.#voucherLater(
        'again',
        source.name,
        'in-flight',
        'The unanswered request may still reach the provider.',
        left,
      );
    const found = await this.#run.pass(
      gate,
      'query',
      null,
      (signal): Promise<QueryResult> => source.query!(this.#request(signal)),
    );
    if (found.kind === 'lost') return LOST;
    if (found.kind !== 'done') return this.#unlearnt(source.name, found);
    if (found.value.result === 'issued') return this.#issued(found.value.voucher);
    if (found.value.result === 'unknown')
      return this.#voucherFailed('again', source.name, 'query-unknown', found.value.detail);
    if (found.value.result === 'cancelled') return this.#askNextGeneration(source, gate);

    const cancelled = await this.#run.pass(
      gate,
      'cancel',
      null,
      (signal): Promise<CancelResult> => source.cancel!(this.#request(signal)),
    );
    if (cancelled.kind === 'lost') return LOST;
    if (cancelled.kind !== 'done') return this.#unlearnt(source.name, cancelled);
    if (cancelled.value.result === 'issued') return this.#issued(cancelled.value.voucher);
    if (cancelled.value.result === 'unknown')
      return this.#voucherFailed('again', source.name, 'cancel-unknown', cancelled.value.detail);
    return this.#askNextGeneration(source, gate);
  }

  async #askNextGeneration(source: VoucherSource, gate: ProviderGate): Promise<Step<Voucher>> {
    if (!(await this.#run.progress({ step: 'voucher-cancelled' }))) return LOST;
    this.#generation += 1;
    return this.#ask(source, gate, 'fresh');
  }

  /** The pool is the ledger's own: nothing of a question to it can be left in the air, so it is not announced, and its answer need not be recorded at once. */
  #askPool(source: VoucherSource, gate: ProviderGate): Promise<Passage<IssueResult>> {
    return this.#run.delivery.poolCode === null
      ? this.#run.pass(gate, 'issue', null, (signal) => source.issue(this.#request(signal)))
      : this.#run.passWithin(gate.name, () => source.issue(this.#request(never)));
  }

  #issuedByLedger(voucher: Voucher): Step<Voucher> {
    this.#run.recordLater(voucher);
    return { go: voucher };
  }

  async #issued(voucher: Voucher): Promise<Step<Voucher>> {
    return (await this.#run.progress({ step: 'voucher-issued', voucher })) ? { go: voucher } : LOST;
  }

  #unlearnt(source: string, passage: Paused | Hung): Promise<Step<never>> | Step<never> {
    if (passage.kind === 'paused')
      return this.#voucherLater('again', source, 'paused', passage.reason, passage.retryAfterMs);
    return this.#voucherFailed('again', source, 'timeout', passage.detail);
  }

  /** Counts against the limit: later, or parked when the limit is reached. */
  async #voucherFailed(
    mode: 'fresh' | 'again',
    source: string,
    code: string,
    detail: string,
    atLeastMs = 0,
  ): Promise<Step<never>> {
    const failures = await this.#run.failures(`voucher.${source}.`);
    if (failures >= this.#run.ports.limits.attemptsPerProvider) {
      return this.#run.parked(mode === 'again' ? 'voucher-unknown' : `voucher.${source}.${code}`, detail);
    }
    const wait = backoffMs(this.#run.ports.limits.backoff, failures, this.#run.ports.randomness, atLeastMs);
    return this.#run.settledLater(
      mode === 'again' ? 'voucher-unknown' : 'retry',
      `voucher.${source}.${code}`,
      detail,
      wait,
    );
  }

  /** Does not count: nothing was asked. */
  #voucherLater(
    mode: 'fresh' | 'again',
    source: string,
    code: 'paused' | 'in-flight',
    detail: string,
    waitMs: number,
  ): Step<never> {
    const wait = waitMs + jitterMs(this.#run.ports.randomness, Math.min(waitMs, LATER_SPREAD_MS));
    return this.#run.settledLater(
      mode === 'again' ? 'voucher-unknown' : 'retry',
      `voucher.${source}.${code}`,
      detail,
      wait,
    );
  }

  #flightLeftMs(source: VoucherSource, justSent: boolean): number {
    if (source.sourceClass !== 'queryable') return 0;
    const agoMs = justSent ? 0 : (this.#run.delivery.voucherRequestedMsAgo ?? 0);
    return source.longestFlightMs - agoMs;
  }

  #request(signal: AbortSignal): VoucherRequest {
    const { campaignId, unit, poolCode } = this.#run.delivery;
    const { vault } = this.#run.ports;
    const generation = this.#generation;
    return {
      get transactionId() {
        return vault.transactionId(campaignId, unit, generation);
      },
      campaignId,
      unit,
      poolCode,
      signal,
    };
  }
}
