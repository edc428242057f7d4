/**
 * When a lane sold out or closed, with the receipt that proves it: read once from the ledger and kept, for the status, the page and
 * refusals. A record never changes, so nothing here goes stale; what cannot be read now is asked for again.
 */
import { timeOf } from '../admission/gate.ts';
import type { AdmissionLedger } from '../ledger.ts';

export interface FinalRecord {
  /** JSON text of the receipt. */
  readonly receipt: string;
  /** ms since the epoch */
  readonly at: number;
}

export interface FinalRecords {
  /** Null when the ledger has no such record. */
  of(campaignId: string, recordNo: number): Promise<FinalRecord | null>;
}

const mostKept = 5_000;

export function createFinalRecords(ledger: Pick<AdmissionLedger, 'receiptOf'>): FinalRecords {
  const kept = new Map<string, Promise<FinalRecord | null>>();
  return {
    of(campaignId, recordNo) {
      const key = `${campaignId} ${recordNo}`;
      const known = kept.get(key);
      if (known) return known;
      if (kept.size >= mostKept) kept.clear();
      const reading = ledger.receiptOf(campaignId, recordNo).then((receipt) => {
        if (receipt === null) kept.delete(key);
        return receipt === null ? null : { receipt, at: timeOf(receipt) ?? 0 };
      });
      kept.set(key, reading);
      reading.catch(() => kept.delete(key));
      return reading;
    },
  };
}
