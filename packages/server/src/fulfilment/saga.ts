/**
 * The fulfilment saga: gets one voucher to one member, by compare-and-set on the ledger's fence, whatever crashes in between.
 *
 *   claim -> voucher -> message -> settle
 *
 *   claim     state `sending`, fence + 1, a lease; committed before anything is called. Null: someone else has it, or it is done.
 *   voucher   none ----ask--------> issued | refused | unknown
 *             unknown: pool, idempotent  ask again with the same transaction id
 *                      queryable         wait out the longest flight, query; issued: take it; else cancel; cancelled: generation + 1, ask
 *                      neither           parked
 *   message   marked as shown durably, then sent: sent -> delivered
 *             refused for good -> the next messenger; refused for now -> later, then the next messenger, then parked
 *             unknown -> one more sending of the same voucher, then parked as `message-unknown`
 *   settle    delivered | retry | voucher-unknown | message-unknown | parked, by compare-and-set; false means it is no longer ours
 *
 * Every record before a call says what may have happened if nothing more is ever heard: `voucher-requested` before the provider,
 * `message-sending` before the messenger. A record that is refused (`lost`) ends the run at once: a newer fence, or a revocation, rules.
 * A voucher once `unknown` stays so until the provider's answer settles it: a later refusal says nothing about the earlier request.
 *
 * The steps are in `voucher-step.ts` and `message-step.ts`, what they share in `claimed-run.ts`.
 *
 * It keeps nothing between runs: what it knows is in the claim. It neither schedules nor counts; `workers.ts` does.
 */
import { ClaimedRun, type Run, type SagaPorts } from './claimed-run.ts';
import { MessageStep } from './message-step.ts';
import { VoucherStep } from './voucher-step.ts';

export interface Saga {
  /** Runs one delivery as far as it goes now. Throws only what the ledger throws; the lease then brings the delivery back. */
  deliver(deliveryId: string): Promise<Run>;
}

export function createSaga(ports: SagaPorts): Saga {
  return {
    async deliver(deliveryId) {
      const leaseEndsAt = ports.clock.monotonic() + ports.limits.leaseMs;
      const delivery = await ports.deliveries.claim(deliveryId, ports.limits.leaseMs);
      if (!delivery) return { outcome: 'not-claimed' };
      ports.onClaim?.(delivery);
      const run = new ClaimedRun(ports, delivery, leaseEndsAt);
      const voucher = await new VoucherStep(run).obtain();
      const carried = 'go' in voucher ? await new MessageStep(run).carry(voucher.go) : voucher;
      return 'settle' in carried ? run.settle(carried.settle) : { outcome: 'lost' };
    },
  };
}
