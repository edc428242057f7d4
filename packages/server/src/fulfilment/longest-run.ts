/**
 * How long one delivery can spend in the gates of its providers: what a lease must outlast, or a slow provider would have its deliveries begun
 * twice (harmless, by fence and transaction id, but wasteful). Asked by the configuration and by the workers, computed here only.
 */
import type { ProviderLimits } from './provider-gate.ts';
import type { VoucherSourceClass } from './voucher-source.ts';

/** Nobody waits longer than this for a rate cap, because a lease runs meanwhile. */
export const longestCapWaitMs = 5_000;
/** Time an adapter has to come back after its signal was aborted. */
export const abortGraceMs = 1_000;
export const defaultTimeoutMs = 10_000;

/** One passage of a gate: the wait for the cap, the call, the grace. ms */
export function longestPassageMs({
  timeoutMs = defaultTimeoutMs,
  ratePerSecond,
}: ProviderLimits = {}): number {
  return (typeof ratePerSecond === 'number' ? longestCapWaitMs : 0) + timeoutMs + abortGraceMs;
}

/** Calls of the longest talk with a source of this class: a queryable one is queried, cancelled and asked again; the pool is the ledger's own. */
const passages: Readonly<Record<VoucherSourceClass, number>> = {
  pool: 0,
  idempotent: 1,
  queryable: 3,
  neither: 1,
};

/** The slowest source and the slowest messenger after another. ms */
export function longestRunMs(
  sources: readonly {
    readonly sourceClass: VoucherSourceClass;
    readonly limits?: ProviderLimits | undefined;
  }[],
  messengers: readonly { readonly limits?: ProviderLimits | undefined }[],
): number {
  const bySource = sources.map(({ sourceClass, limits }) => passages[sourceClass] * longestPassageMs(limits));
  const byMessenger = messengers.map(({ limits }) => longestPassageMs(limits));
  return Math.max(0, ...bySource) + Math.max(0, ...byMessenger);
}
