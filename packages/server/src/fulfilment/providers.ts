/**
 * The providers of this process: voucher sources and messengers by name, each behind a gate of its own, and the one question the dispatch
 * asks of them: has this campaign's provider room for another delivery?
 */
import type { Clock } from '@doorbuster/messaging';
import type { CampaignDefinition } from '../campaign/definition.ts';
import { longestRunMs } from './longest-run.ts';
import type { Messenger } from './messenger.ts';
import type { FulfilmentObserver } from './observer.ts';
import { createProviderGate, type ProviderGate, type ProviderLimits } from './provider-gate.ts';
import type { VoucherSource } from './voucher-source.ts';

export interface SourceSetting {
  readonly source: VoucherSource;
  readonly limits?: ProviderLimits;
}
export interface MessengerSetting {
  readonly messenger: Messenger;
  readonly limits?: ProviderLimits;
}

export interface Providers {
  readonly sources: ReadonlyMap<string, { readonly source: VoucherSource; readonly gate: ProviderGate }>;
  readonly messengers: ReadonlyMap<string, { readonly messenger: Messenger; readonly gate: ProviderGate }>;
  /** Longest time one delivery can spend in gates, ms: what a lease must outlast. */
  readonly longestRunMs: number;
  /** Counts a delivery of this campaign against its source and its first messenger; the returned function ends it. */
  occupy(definition: CampaignDefinition): () => void;
  /** False while the source or the first messenger of the campaign has twice as many deliveries as it can call at once. */
  hasRoom(definition: CampaignDefinition): boolean;
  abort(): void;
  close(): Promise<void>;
}

export interface ProviderParts {
  readonly sources: readonly SourceSetting[];
  readonly messengers: readonly MessengerSetting[];
  readonly clock: Clock;
  readonly observe: FulfilmentObserver;
}

export function createProviders({ sources, messengers, clock, observe }: ProviderParts): Providers {
  const gateOf = (name: string, limits: ProviderLimits | undefined): ProviderGate =>
    createProviderGate({
      name,
      clock,
      ...(limits && { limits }),
      isTrouble,
      onBreaker: (state) => observe({ event: 'breaker', provider: name, state }),
    });
  const sourceMap = new Map(
    sources.map(({ source, limits }) => [
      source.name,
      { source, gate: gateOf(`source ${source.name}`, limitsOf(source, limits)) },
    ]),
  );
  const messengerMap = new Map(
    messengers.map(({ messenger, limits }) => [
      messenger.name,
      { messenger, gate: gateOf(`messenger ${messenger.name}`, limits) },
    ]),
  );
  const gates = [
    ...[...sourceMap.values()].map(({ gate }) => gate),
    ...[...messengerMap.values()].map(({ gate }) => gate),
  ];
  const occupied = new Map<string, number>();
  /** What is not configured here has no gate: its deliveries are parked at once. */
  const gatesOf = ({ reward }: CampaignDefinition): readonly ProviderGate[] =>
    [sourceMap.get(reward.voucherSource ?? 'pool'), messengerMap.get(reward.messengers[0] ?? '')].flatMap(
      (found) => (found ? [found.gate] : []),
    );
  return {
    sources: sourceMap,
    messengers: messengerMap,
    longestRunMs: longestRunMs(
      sources.map(({ source, limits }) => ({ sourceClass: source.sourceClass, limits })),
      messengers,
    ),
    occupy(definition) {
      const names = gatesOf(definition).map(({ name }) => name);
      for (const name of names) occupied.set(name, (occupied.get(name) ?? 0) + 1);
      return () => {
        for (const name of names) occupied.set(name, (occupied.get(name) ?? 1) - 1);
      };
    },
    hasRoom: (definition) =>
      gatesOf(definition).every((gate) => (occupied.get(gate.name) ?? 0) < gate.concurrency * 2),
    abort: () => gates.forEach((gate) => gate.abort()),
    async close() {
      await Promise.all(messengers.map(({ messenger }) => messenger.close()));
    },
  };
}

/** The pool answers from the ledger: there is no provider to protect. */
function limitsOf(source: VoucherSource, limits: ProviderLimits | undefined): ProviderLimits | undefined {
  return source.sourceClass === 'pool' ? { concurrency: 256, ...limits } : limits;
}

/** What speaks against a provider's health: no answer, or a no that is not about this one delivery. */
function isTrouble(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || !('result' in value)) return false;
  return (
    value.result === 'unknown' ||
    (value.result === 'refused' && 'permanent' in value && value.permanent === false)
  );
}
