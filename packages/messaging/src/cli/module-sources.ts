/** The `reconciliation` of the module of `--channels`: opened, and looked at before it is asked, because what a source lacks would be found in the middle of the work. */
import type { ReconcileOptions } from '../reconciliation.ts';
import type { RecordedSource, SettledSource } from '../reconciliation-sources.ts';
import type { ChannelsModule } from './channels-module.ts';
import { type DatabasePlace, inWords, openedInWords, OUTBOX_AND_INBOX } from './databases.ts';
import { exitCodes, usage } from './failure.ts';
import { called, calledNow, type ModuleCall } from './module-calls.ts';
import { withoutAddressSecrets } from './reason.ts';
import type { Unawaited } from './unawaited.ts';

export type Sources = Pick<ReconcileOptions, 'recorded' | 'settled'> & {
  readonly close?: () => Promise<void>;
};

const SOURCES: DatabasePlace = {
  name: 'a database of "reconciliation"',
  remedy: 'Mend its address in the module of --channels; this run published nothing.',
  tables: OUTBOX_AND_INBOX,
};

const OPENING = {
  failed: '"reconciliation" of the module of --channels could not be opened',
  exitCode: exitCodes.configuration,
  remedy: 'Mend it in the module of --channels; this run published nothing.',
};

const PORTS = {
  recorded: { name: 'string', page: 'function', recorded: 'function', keptSince: 'function' },
  settled: { subscription: 'string', page: 'function', settled: 'function', keptSince: 'function' },
} as const;

const readingOf = (side: keyof typeof PORTS, name: string): ModuleCall => ({
  failed: `"${side}" of "reconciliation" of the module of --channels, source "${withoutAddressSecrets(name)}", could not be read`,
  exitCode: exitCodes.failed,
  remedy:
    'Remove what the message names, in the database or in that source, then run the same command again. This run published nothing.',
});

/** As they are to be asked: what one rejects with is told as a failure of it, and none is waited for once something broke that nobody awaits. */
export function toldSources({ recorded, settled }: Sources, unawaited: Unawaited): Sources {
  return {
    recorded: recorded.map((source) => recordedInWords(source, unawaited)),
    settled: settled.map((source) => settledInWords(source, unawaited)),
  };
}

type Reading = <T>(work: () => Promise<T>) => Promise<T>;

const reading =
  (call: ModuleCall, unawaited: Unawaited): Reading =>
  (work) =>
    unawaited.unlessBroken(() => called(call, () => inWords(SOURCES, work)));

function recordedInWords(source: RecordedSource, unawaited: Unawaited): RecordedSource {
  const { name } = source;
  const read = reading(readingOf('recorded', name), unawaited);
  return {
    name,
    page: (window, page) => read(() => source.page(window, page)),
    recorded: (ids) => read(() => source.recorded(ids)),
    keptSince: () => read(() => source.keptSince()),
  };
}

function settledInWords(source: SettledSource, unawaited: Unawaited): SettledSource {
  const { subscription, channels, since } = source;
  const call = readingOf('settled', subscription);
  const read = reading(call, unawaited);
  return {
    subscription,
    channels,
    ...(since === undefined ? {} : { since }),
    ...(source.takes ? { takes: (message) => calledNow(call, () => source.takes?.(message) ?? true) } : {}),
    page: (window, page) => read(() => source.page(window, page)),
    settled: (ids) => read(() => source.settled(ids)),
    keptSince: () => read(() => source.keptSince()),
  };
}

export function openSources({ reconciliation }: ChannelsModule): Promise<Sources> {
  return called(OPENING, () => openedInWords(SOURCES, () => sourcesIn(reconciliation)));
}

async function sourcesIn(given: unknown): Promise<Sources> {
  const made = (typeof given === 'function' ? await given() : given) as Partial<Sources> | null | undefined;
  if (!Array.isArray(made?.recorded) || !Array.isArray(made?.settled))
    throw usage(
      'the module of --channels exports no "reconciliation" with "recorded" and "settled"',
      'Export them: the outboxes of the producers and the inboxes of the subscriptions. For instance: import { openSqlStore } from "@doorbuster/messaging/stores"; const shop = await openSqlStore("postgres://localhost/shop"); export const reconciliation = { recorded: [shop.recorded("shop")], settled: [shop.settled({ subscription: "mailer", channels: ["order.placed"] })], close: () => shop.close() };',
    );
  const lacking = [...lackingIn('recorded', made.recorded), ...lackingIn('settled', made.settled)];
  if (lacking.length > 0)
    throw usage(
      `"reconciliation" of the module of --channels is not understood: ${lacking.join('; ')}`,
      'Export what recorded(...) and settled(...) of a store return, or sources of your own that have all of RecordedSource and SettledSource.',
    );
  return made as Sources;
}

function lackingIn(side: keyof typeof PORTS, sources: readonly unknown[]): string[] {
  return sources.flatMap((source, index) => {
    const has = (source ?? {}) as Readonly<Record<string, unknown>>;
    const names = Object.entries(PORTS[side]).flatMap(([name, type]) =>
      typeof has[name] === type ? [] : [name],
    );
    if (side === 'settled' && !Array.isArray(has['channels'])) names.push('channels');
    return names.length === 0 ? [] : [`${side}[${index}] has no ${names.join(', ')}`];
  });
}
