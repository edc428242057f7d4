/**
 * A remote voucher source that does not promise the same voucher for a repeated id, but tells what became of an id and can cancel it.
 * After `cancelled` the id is dead: a request that was still under way cannot land any more. Only then the saga asks with a new id.
 */
import { callJson, type JsonAnswer } from '../json-call.ts';
import {
  checkRemotely,
  headersOf,
  issueRemotely,
  readVoucher,
  type RemoteSourceOptions,
  stateOf,
  voucherUrl,
} from '../provider-protocol.ts';
import type { CancelResult, QueryResult, VoucherSource } from '../voucher-source.ts';

export function createHttpQueryableSource(options: RemoteSourceOptions): VoucherSource {
  const headers = headersOf(options);
  return {
    name: options.name,
    sourceClass: 'queryable',
    longestFlightMs: options.longestFlightMs ?? 60_000,
    issue: (request) => issueRemotely(options, request),
    async query(request) {
      return queryResult(
        await callJson({ url: voucherUrl(options, request), method: 'GET', headers, signal: request.signal }),
      );
    },
    async cancel(request) {
      return cancelResult(
        await callJson({
          url: voucherUrl(options, request),
          method: 'DELETE',
          headers,
          signal: request.signal,
        }),
      );
    },
    check: (_campaignId, units) => checkRemotely(options, units),
  };
}

function queryResult(answer: JsonAnswer): QueryResult {
  if (answer.kind !== 'answer') return { result: 'unknown', detail: answer.detail };
  if (answer.status === 404) return { result: 'not-found' };
  return (
    settled(answer) ?? { result: 'unknown', detail: `The provider answered ${answer.status} to the query.` }
  );
}

/** A 404 to a cancel is not a cancel: the request may still be on its way, and nothing holds it back. */
function cancelResult(answer: JsonAnswer): CancelResult {
  if (answer.kind !== 'answer') return { result: 'unknown', detail: answer.detail };
  return (
    settled(answer) ?? { result: 'unknown', detail: `The provider answered ${answer.status} to the cancel.` }
  );
}

function settled(
  answer: Extract<JsonAnswer, { kind: 'answer' }>,
): Extract<CancelResult, { result: 'cancelled' | 'issued' }> | null {
  if (answer.status !== 200 && answer.status !== 409 && answer.status !== 410) return null;
  const state = stateOf(answer.body);
  if (state === 'cancelled') return { result: 'cancelled' };
  const voucher = state === 'issued' ? readVoucher(answer.body) : null;
  return voucher ? { result: 'issued', voucher } : null;
}
