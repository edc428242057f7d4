/**
 * One claim at work: what the steps of the saga share. It passes through providers' gates, writes progress and result by compare-and-set, counts
 * failures, and stops calling when its lease has ended. The order of the steps and what answers mean are not decided here.
 */
import { type Clock, pause } from '@doorbuster/messaging';
import { OperationalError } from '../errors.ts';
import type { ClaimedDelivery, DeliveryLedger, DeliveryResult, DeliveryStep, Voucher } from '../ledger.ts';
import type { Randomness } from '../randomness.ts';
import { type BackoffPolicy, backoffMs } from './backoff.ts';
import type { Messenger } from './messenger.ts';
import type { FulfilmentLog, FulfilmentObserver } from './observer.ts';
import type { Caller, GateResult, ProviderGate } from './provider-gate.ts';
import type { VoucherSource } from './voucher-source.ts';

export interface SagaLimits {
  readonly leaseMs: number;
  readonly backoff: BackoffPolicy;
  /** Failed calls to one provider for one delivery before it is parked (voucher) or falls to the next messenger. */
  readonly attemptsPerProvider: number;
}

export interface SagaPorts {
  readonly deliveries: Pick<DeliveryLedger, 'claim' | 'progress' | 'settle' | 'attempts'>;
  /** Derives the provider's transaction id from the unit and its generation; the vault in production. */
  readonly vault: { transactionId(campaignId: string, unit: number, generation: number): string };
  readonly sources: ReadonlyMap<string, { readonly source: VoucherSource; readonly gate: ProviderGate }>;
  readonly messengers: ReadonlyMap<string, { readonly messenger: Messenger; readonly gate: ProviderGate }>;
  /** Address of the member's result page of a campaign, for the message. */
  readonly pageUrl: (campaignId: string) => string;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly log: FulfilmentLog;
  readonly observe: FulfilmentObserver;
  /** Told of each claim before anything is called. */
  readonly onClaim?: (delivery: ClaimedDelivery) => void;
  readonly limits: SagaLimits;
}

export type Run =
  | { readonly outcome: 'not-claimed' | 'lost' }
  | { readonly outcome: 'settled'; readonly claimed: ClaimedDelivery; readonly result: DeliveryResult };

/** What a step hands to the pipe: go on with a value, record this result, or stop because the claim is no longer ours. */
export type Step<T> = { readonly go: T } | { readonly settle: DeliveryResult } | typeof LOST;
export const LOST = Object.freeze({ lost: true });

export type Paused = Extract<GateResult<never>, { kind: 'paused' }>;
export type Hung = Extract<GateResult<never>, { kind: 'hung' }>;
export type Passage<T> = GateResult<T> | { readonly kind: 'lost' };

/** Deliveries that wait for one provider come back spread over this time, not in one wave. */
export const LATER_SPREAD_MS = 2_000;
/** Characters. */
const LONGEST_ERROR = 500;
/** An e-mail address, also in a spelling that is not the contact's. */
const ADDRESS = /[^\s<>"'(),;:]+@[^\s<>"'(),;:]+/g;
const LEDGER_BACKOFF: BackoffPolicy = { firstMs: 50, maxMs: 1_000 };

export class ClaimedRun {
  readonly ports: SagaPorts;
  readonly delivery: ClaimedDelivery;
  /** A voucher that is recorded with the next step, or with the result: nothing outside the ledger knows of it. */
  #unrecorded: Voucher | null = null;
  /** On the monotonic clock: a process that slept through its lease must not call anyone, whatever the wall clock says. */
  readonly #leaseEndsAt: number;

  constructor(ports: SagaPorts, delivery: ClaimedDelivery, leaseEndsAt: number) {
    this.ports = ports;
    this.delivery = delivery;
    this.#leaseEndsAt = leaseEndsAt;
  }

  /** One passage through a provider's gate: a place and a turn first, then the durable word of what is about to happen, then the call. */
  async pass<T extends { readonly result: string }>(
    gate: ProviderGate,
    call: 'issue' | 'query' | 'cancel' | 'send',
    before: DeliveryStep | null,
    make: (signal: AbortSignal) => Promise<T>,
  ): Promise<Passage<T>> {
    const { clock, observe } = this.ports;
    let startedAt = clock.monotonic();
    const passage: GateResult<T | typeof LOST> = await gate.enter(async (caller: Caller) => {
      if (clock.monotonic() >= this.#leaseEndsAt || (before && !(await this.progress(before)))) return LOST;
      startedAt = clock.monotonic();
      return caller(async (signal) => {
        try {
          return await make(signal);
        } catch (error) {
          // An adapter that throws has broken its contract; what it did is not known.
          this.ports.log.error(
            {
              error: this.#withoutMember(stackOf(error)),
              provider: gate.name,
              deliveryId: this.delivery.deliveryId,
            },
            'a provider adapter threw',
          );
          return { result: 'unknown', errorCode: 'adapter-threw', detail: String(error) } as unknown as T;
        }
      });
    });
    if (passage.kind === 'done' && passage.value === LOST) return { kind: 'lost' };
    const outcome = passage.kind === 'done' ? (passage.value as T).result : passage.kind;
    observe({ event: 'called', provider: gate.name, call, outcome, ms: clock.monotonic() - startedAt });
    return passage as GateResult<T>;
  }

  /** One passage of a question that the ledger itself has answered: no provider is called, so there is none to protect. */
  async passWithin<T extends { readonly result: string }>(
    name: string,
    make: () => Promise<T>,
  ): Promise<Passage<T>> {
    const { clock, observe } = this.ports;
    const startedAt = clock.monotonic();
    const value = await make();
    const ms = clock.monotonic() - startedAt;
    observe({ event: 'called', provider: name, call: 'issue', outcome: value.result, ms });
    return { kind: 'done', value };
  }

  /** The voucher will be in the next record: of the sending, or of the result. */
  recordLater(voucher: Voucher): void {
    this.#unrecorded = voucher;
  }

  async progress(step: DeliveryStep): Promise<boolean> {
    const issued = step.step === 'message-sending' ? this.#unrecorded : null;
    const record = issued === null ? step : { ...step, issued };
    const { deliveryId, fence } = this.delivery;
    const ours = await this.#persist(() =>
      this.ports.deliveries.progress(deliveryId, fence, record as DeliveryStep),
    );
    if (issued !== null && ours) this.#unrecorded = null;
    return ours;
  }

  async settle(result: DeliveryResult): Promise<Run> {
    const voucher = this.#unrecorded;
    if (voucher !== null && !(await this.progress({ step: 'voucher-issued', voucher })))
      return { outcome: 'lost' };
    const ours = await this.#persist(() =>
      this.ports.deliveries.settle(this.delivery.deliveryId, this.delivery.fence, result),
    );
    return ours ? { outcome: 'settled', claimed: this.delivery, result } : { outcome: 'lost' };
  }

  /** A busy or full ledger decided nothing: the same record is offered again while the lease lasts. */
  async #persist(write: () => Promise<boolean>): Promise<boolean> {
    for (let failures = 1; ; failures += 1) {
      try {
        return await write();
      } catch (error) {
        const wait = backoffMs(LEDGER_BACKOFF, failures, this.ports.randomness);
        const hopeful =
          error instanceof OperationalError && error.retryable && error.code !== 'LEDGER_CLOSED';
        if (!hopeful || this.ports.clock.monotonic() + wait >= this.#leaseEndsAt) throw error;
        await pause(this.ports.clock, wait);
      }
    }
  }

  /**
   * Failed calls to this provider so far, the present one included. Pauses are not failures: nobody was called. Claims of before an
   * operator's retry are not in the claim's count, so a person's word gives a fresh budget.
   */
  async failures(prefix: string): Promise<number> {
    if (this.delivery.attempts <= 1) return 1;
    const attempts = (await this.ports.deliveries.attempts(this.delivery.deliveryId)) ?? [];
    const counted = attempts
      .slice(-this.delivery.attempts)
      .filter(
        ({ fence, errorCode }) =>
          fence !== this.delivery.fence && errorCode?.startsWith(prefix) && !isPause(errorCode),
      );
    return counted.length + 1;
  }

  parked(errorCode: string, error: string): Step<never> {
    return { settle: { result: 'parked', errorCode, error: this.#told(error) } };
  }

  /** At once by another messenger. */
  settledNext(errorCode: string, error: string, messengerIndex: number): Step<never> {
    return { settle: { result: 'retry', waitMs: 0, errorCode, error: this.#told(error), messengerIndex } };
  }

  settledLater(
    result: 'retry' | 'voucher-unknown' | 'message-unknown',
    errorCode: string,
    error: string,
    waitMs: number,
  ): Step<never> {
    return {
      settle: { result, waitMs: Math.ceil(Math.max(0, waitMs)), errorCode, error: this.#told(error) },
    };
  }

  /** What a provider said, as it is stored and shown to operators: short, and without the member. */
  #told(text: string): string {
    const kept = this.#withoutMember(text);
    return kept.length > LONGEST_ERROR ? `${kept.slice(0, LONGEST_ERROR - 1)}…` : kept;
  }

  /** Mail servers quote the address that they refuse. These texts are not sealed, and they outlive the erasure of the member. */
  #withoutMember(text: string): string {
    const { email, phone } = this.delivery.contact ?? {};
    return [email, phone]
      .filter((contact) => contact !== undefined)
      .reduce((kept, contact) => kept.replaceAll(contact, '[member]'), text.slice(0, 4 * LONGEST_ERROR))
      .replace(ADDRESS, '[address]');
  }
}

function isPause(errorCode: string): boolean {
  return errorCode.endsWith('.paused') || errorCode.endsWith('.in-flight');
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
