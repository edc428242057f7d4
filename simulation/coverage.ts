/**
 * What a run reached: verdicts, records, transitions of lanes, deliveries, vouchers and messages, outcomes of operators' commands, faults by phase.
 * The list of what could be reached is written by hand from the state machines (`ledger.ts`, `lane.ts`), so that a state nobody comes to any
 * more is named instead of forgotten.
 */
import type { RecordType } from '@doorbuster/core';
import type {
  ClaimedDelivery,
  DeliveryLedger,
  DeliveryResult,
  DeliveryStep,
} from '../packages/server/src/ledger.ts';
import { faultKinds, plannedFaults } from './fault-kinds.ts';

export type Area = 'verdict' | 'record' | 'lane' | 'delivery' | 'voucher' | 'message' | 'operator' | 'fault';

export class Coverage {
  readonly #counts = new Map<string, number>();

  see(area: Area, name: string): void {
    const key = `${area}: ${name}`;
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }
}

const records: readonly RecordType[] = [
  'PUBLISHED',
  'OPENED',
  'PAUSED',
  'RESUMED',
  'ENTRY',
  'SOLD_OUT',
  'REOPENED',
  'STOCK_CHANGED',
  'REVOKED',
  'PROMOTED',
  'REPLACED',
  'CLOSED',
  'RESTORED',
];
const wrongPhases = ['pause', 'resume', 'close', 'change-stock', 'revoke', 'replace'];

const known: Readonly<Record<Area, readonly string[]>> = {
  verdict: [
    'won',
    'won, repeated',
    'waitlisted',
    'waitlisted, repeated',
    'sold-out',
    'closed',
    'not-open',
    'paused',
    'ineligible',
    'pending',
  ],
  record: records,
  lane: [
    'scheduled > open',
    'scheduled > closed',
    'open > paused',
    'paused > open',
    'open > closed',
    'paused > closed',
    'closed by ends-at',
    'closed by operator',
    'closed by sold-out',
    'sold out',
    'reopened',
    'revoked unit becomes free',
    'revoked unit becomes void',
    'revoked while waiting',
    'returned unit given again',
    'epoch raised',
  ],
  delivery: [
    'due > sending',
    'sending > sending, the lease ended',
    'unknown > sending',
    'sending > delivered',
    'sending > due',
    'sending > unknown',
    'sending > parked',
    'parked > sending',
    'delivered > sending',
    'a stale fence was refused',
  ],
  voucher: [
    'none > requested',
    'requested > issued',
    'requested > unknown',
    'unknown > issued',
    'unknown > none, cancelled by the source',
    'requested > none, refused',
    'none > issued',
  ],
  message: [
    'none > sending',
    'sending > sent',
    'sending > unknown',
    'sending > none, refused',
    'unknown > sending',
  ],
  operator: [
    ...['pause', 'resume', 'close', 'change-stock', 'revoke', 'replace', 'promote'].map(
      (name) => `${name}: ok`,
    ),
    ...wrongPhases.map((name) => `${name}: wrong-phase`),
    'change-stock: capacity-below-granted',
    'change-stock: stock-unchanged',
    'revoke: unknown-entry',
    'revoke: nothing-to-revoke',
    'replace: no-free-unit',
    'replace: unit-not-given',
    'promote: nobody-waits',
    'promote: no-free-unit',
    'retry: ok',
    'resend: ok',
    'ban: ok',
    'unban: ok',
    'erase: ok',
    'erase: unknown',
    'copy: ok',
  ],
  fault: faultKinds.flatMap((kind) =>
    ['scheduled', 'open', 'paused', 'closed'].map((phase) => `${kind} while ${phase}`),
  ),
};

/** Everything that could be reached, as `area: name`. */
export const reachable: readonly string[] = Object.entries(known).flatMap(([area, names]) =>
  names.map((name) => `${area}: ${name}`),
);

export function unreachedBy(counts: ReadonlyMap<string, number>): readonly string[] {
  return reachable.filter((name) => !counts.has(name));
}

/** What a few dozen seeds always reach: every fault that is drawn for most runs, while a lane is open. */
export const plannedEverywhere: readonly string[] = plannedFaults
  .filter((kind) => kind !== 'stuck-writer' && kind !== 'restored-backup')
  .map((kind) => `fault: ${kind} while open`);

interface Seen {
  delivery: string;
  voucher: string;
  message: string;
}

/** Watches deliveries through the port; counts arrows between states, whoever draws them. */
export class DeliveryWatch {
  readonly #coverage: Coverage;
  readonly #seen = new Map<string, Seen>();

  constructor(coverage: Coverage) {
    this.#coverage = coverage;
  }

  watch(deliveries: DeliveryLedger): DeliveryLedger {
    return {
      ...deliveries,
      claim: async (deliveryId, leaseMs) => {
        const claimed = await deliveries.claim(deliveryId, leaseMs);
        if (claimed !== null) this.#claimed(claimed);
        return claimed;
      },
      progress: async (deliveryId, fence, step) =>
        this.#told(await deliveries.progress(deliveryId, fence, step), () => this.#stepped(deliveryId, step)),
      settle: async (deliveryId, fence, result) =>
        this.#told(await deliveries.settle(deliveryId, fence, result), () =>
          this.#settled(deliveryId, result),
        ),
    };
  }

  #told(ours: boolean, then: () => void): boolean {
    if (ours) then();
    else this.#coverage.see('delivery', 'a stale fence was refused');
    return ours;
  }

  #of(deliveryId: string): Seen {
    let seen = this.#seen.get(deliveryId);
    if (seen === undefined) {
      seen = { delivery: 'due', voucher: 'none', message: 'none' };
      this.#seen.set(deliveryId, seen);
    }
    return seen;
  }

  #claimed(claimed: ClaimedDelivery): void {
    const seen = this.#of(claimed.deliveryId);
    const ended = seen.delivery === 'sending' ? ', the lease ended' : '';
    this.#coverage.see('delivery', `${seen.delivery} > sending${ended}`);
    seen.delivery = 'sending';
    if (seen.voucher === 'requested' && claimed.voucherState === 'unknown')
      this.#coverage.see('voucher', 'requested > unknown');
    if (seen.message === 'sending' && claimed.messageState === 'unknown')
      this.#coverage.see('message', 'sending > unknown');
    seen.voucher = claimed.voucherState;
    seen.message = claimed.messageState;
  }

  #stepped(deliveryId: string, step: DeliveryStep): void {
    const seen = this.#of(deliveryId);
    if (step.step === 'message-sending') {
      this.#coverage.see('message', `${seen.message} > sending`);
      seen.message = 'sending';
      return;
    }
    const next = {
      'voucher-requested': 'requested',
      'voucher-issued': 'issued',
      'voucher-cancelled': 'none',
    }[step.step];
    const how = step.step === 'voucher-cancelled' ? ', cancelled by the source' : '';
    this.#coverage.see('voucher', `${seen.voucher} > ${next}${how}`);
    seen.voucher = next;
  }

  #settled(deliveryId: string, result: DeliveryResult): void {
    const seen = this.#of(deliveryId);
    const next = {
      delivered: 'delivered',
      retry: 'due',
      'voucher-unknown': 'unknown',
      'message-unknown': 'unknown',
      parked: 'parked',
    }[result.result];
    this.#coverage.see('delivery', `sending > ${next}`);
    seen.delivery = next;
    if (result.result === 'voucher-unknown' && seen.voucher === 'requested')
      this.#coverage.see('voucher', 'requested > unknown');
    if (result.result === 'retry' && seen.voucher === 'requested')
      this.#coverage.see('voucher', 'requested > none, refused');
    if (seen.message !== 'sending') return;
    if (result.result === 'delivered') this.#coverage.see('message', 'sending > sent');
    if (result.result === 'message-unknown') this.#coverage.see('message', 'sending > unknown');
    if (result.result === 'retry') this.#coverage.see('message', 'sending > none, refused');
  }
}
