/**
 * The promises I1..I9 as code, written once: simulator, chaos runs, `verify` and the production job all call this. Pure functions
 * over plain snapshots, so that the judge shares nothing with what it judges but the shapes.
 *
 *   I1 granted units <= capacity, one live holder each       I6 free + reserved + held + issued + void = capacity
 *   I2 every signed receipt matches the ledger for ever      I7 captured money has a unit or a finished refund
 *   I3 one live grant and one distinct voucher a member      I8 calm for 60 s: everything delivered or parked
 *   I4 seq 1..n without gap, the chain verifies              I9 nothing is shown before it is durable
 *   I5 nobody is told sold out while a place was free
 */
import { checkDurability, checkSettled, checkSoldOutAnswers } from './history.ts';
import { checkAcknowledged, checkOrder, checkReceipts } from './order.ts';
import type { Evidence, InvariantCrypto, LedgerSnapshot, Violation } from './snapshot.ts';
import { checkConservation, checkGrants, checkPayments, checkUnits } from './stock.ts';

/**
 * All violations, in the order of the invariants; empty when every promise holds for what was given. Evidence that is left out is
 * not judged: I5 and I9 need answers and commits (and the batches of the snapshot), I7 payments, I8 `calm`. Without `crypto` chain
 * and receipts are not verified; receipts without `crypto` throw a `RangeError`, so that they are never skipped in silence.
 */
export function checkInvariants(
  snapshot: LedgerSnapshot,
  evidence: Evidence = {},
  crypto: InvariantCrypto | null = null,
): Violation[] {
  const { answers = [], messages = [], commits, receipts = [], payments = [] } = evidence;
  if (receipts.length > 0 && crypto === null)
    throw new RangeError('receipts can only be checked with a hash function');
  return [
    ...checkUnits(snapshot),
    ...(crypto === null ? [] : checkReceipts(snapshot, receipts, crypto)),
    ...checkAcknowledged(snapshot, answers),
    ...checkGrants(snapshot, messages),
    ...checkOrder(snapshot, crypto),
    ...(commits === undefined
      ? []
      : checkSoldOutAnswers(snapshot, answers, commits, evidence.soldOutToleranceMs ?? 0)),
    ...checkConservation(snapshot),
    ...checkPayments(payments),
    ...checkSettled(snapshot, evidence),
    ...(commits === undefined ? [] : checkDurability(snapshot, answers, messages, commits)),
  ];
}
