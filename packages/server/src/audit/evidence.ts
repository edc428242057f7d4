/** What a stranger checks the promises with: the public keys and the latest signed head. */
import type { Clock } from '@doorbuster/messaging';
import type { PublicEvidence } from '../http/deps.ts';
import type { Ledger } from '../ledger.ts';
import type { SigningKey } from '../secrets.ts';
import { publicKeySet } from './keys.ts';

export function createEvidence(parts: {
  readonly ledger: Pick<Ledger, 'evidence'>;
  readonly signingKeys: readonly SigningKey[];
  readonly clock: Clock;
}): PublicEvidence {
  const keys = publicKeySet(parts.signingKeys);
  return {
    keys: () => keys,
    checkpoint: (campaignId) => parts.ledger.evidence.checkpoint(campaignId),
  };
}
