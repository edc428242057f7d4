/**
 * A remote voucher source that promises: the same transaction id gives the same voucher, however often and however late it is sent.
 * After an unknown outcome the saga simply asks again. What is definite and what is unknown is decided in `provider-protocol.ts`.
 */
import { checkRemotely, issueRemotely, type RemoteSourceOptions } from '../provider-protocol.ts';
import type { VoucherSource } from '../voucher-source.ts';

export function createHttpIdempotentSource(options: RemoteSourceOptions): VoucherSource {
  return {
    name: options.name,
    sourceClass: 'idempotent',
    longestFlightMs: options.longestFlightMs ?? 60_000,
    issue: (request) => issueRemotely(options, request),
    check: (_campaignId, units) => checkRemotely(options, units),
  };
}
