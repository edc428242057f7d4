/**
 * The code pool: codes imported before opening, one per unit. Nothing remote decides, so every call gives the same answer and no outcome
 * is ever unknown. The name is `pool`, unless a campaign names another.
 */
import type { CampaignLedger, DeliveryLedger } from '../../ledger.ts';
import type { VoucherSource } from '../voucher-source.ts';

/** The part of the ledger that is asked. */
export interface PoolLedger {
  readonly deliveries: Pick<DeliveryLedger, 'poolCode'>;
  readonly campaigns: Pick<CampaignLedger, 'get'>;
}

export function createPoolSource(ledger: PoolLedger, name = 'pool'): VoucherSource {
  return {
    name,
    sourceClass: 'pool',
    longestFlightMs: 0,
    async issue({ campaignId, unit, poolCode }) {
      const voucher = poolCode ?? (await ledger.deliveries.poolCode(campaignId, unit));
      if (voucher) return { result: 'issued', voucher };
      // Not permanent: codes may still be imported, and stock may have been raised before them.
      return {
        result: 'refused',
        errorCode: 'code-missing',
        detail: `The pool has no code for unit ${unit}.`,
        permanent: false,
      };
    },
    async check(campaignId, units) {
      const codes = (await ledger.campaigns.get(campaignId))?.voucherCodeCount ?? 0;
      return codes >= units
        ? []
        : [`The pool holds ${codes} codes for ${units} units; import ${units - codes} more.`];
    },
  };
}
