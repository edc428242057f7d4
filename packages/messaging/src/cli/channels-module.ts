/**
 * The module of `--channels`: whatever it exports that is a channel, alone or in a list, and by name
 *   subscriptions  [{ channel, name }]   what exists on the engine, for those that cannot list it (RabbitMQ, Kafka)
 *   publishes      [channel, ...]        for `asyncapi`
 *   existing       { channel: { queue } or { exchange } }   what channels of RabbitMQ stand for, as the application gives it to its engine
 *   engineOptions  { queueType, partitions, lists, ... }   what else the application gives to its engine: a URL has no place for it
 *   reconciliation { recorded, settled, close? }, or a function that makes it   for `reconcile`
 *   decisions      { note, about, since, close? }, a log of what people decide about dead letters, or a function that makes it   for `discard`, `edit-and-redrive`, `replay` and `reconcile`
 *   service        { title, version, description?, servers? }   for `asyncapi`
 * Channels are known by their shape, because the module may have another copy of this package.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { AsyncApiServer } from '../asyncapi/document.ts';
import type { Channel } from '../channel.ts';
import { usage } from './failure.ts';
import { reasonOf } from './reason.ts';

export type Existing = Readonly<Record<string, { readonly queue: string } | { readonly exchange: string }>>;

export type EngineOptions = Readonly<Record<string, unknown>>;

export interface ChannelsModule {
  readonly channels: readonly Channel[];
  readonly subscriptions: readonly { readonly channel: Channel; readonly name: string }[];
  readonly publishes: readonly Channel[];
  /** By channel, as the RabbitMQ engine takes it. */
  readonly existing: Existing;
  /** As the application's engine takes them, `existing` among them. */
  readonly engineOptions: EngineOptions;
  /** Looked at by `reconcile` alone. */
  readonly reconciliation: unknown;
  readonly decisions: unknown;
  readonly service: {
    readonly title?: string;
    readonly version?: string;
    readonly description?: string;
    readonly servers?: Readonly<Record<string, AsyncApiServer>>;
  };
}

export const noModule: ChannelsModule = {
  existing: {},
  engineOptions: {},
  reconciliation: undefined,
  decisions: undefined,
  channels: [],
  subscriptions: [],
  publishes: [],
  service: {},
};

export async function loadChannels(path: string): Promise<ChannelsModule> {
  const file = resolve(path);
  if (!existsSync(file))
    throw usage(`--channels ${path}: there is no such file`, 'Name the module that exports your channels.');
  let exported: Readonly<Record<string, unknown>>;
  try {
    exported = (await import(pathToFileURL(file).href)) as Readonly<Record<string, unknown>>;
  } catch (error) {
    throw usage(
      `--channels ${path}: it could not be loaded: ${reasonOf(error)}`,
      'It is imported as Node would: try `node` on it. TypeScript works as long as its types can be stripped.',
    );
  }
  return channelsOf(path, exported);
}

export function channelsOf(path: string, exported: Readonly<Record<string, unknown>>): ChannelsModule {
  const subscriptions = onlyFitting(path, exported, 'subscriptions', isSubscription);
  const publishes = onlyFitting(path, exported, 'publishes', isChannel);
  const found = [
    ...Object.values(exported).flatMap((value) => listOf(value).filter(isChannel)),
    ...subscriptions.map(({ channel }) => channel),
  ];
  const channels = [...new Set(found)];
  if (channels.length === 0)
    throw usage(`--channels ${path}: it exports no channel`, 'Export what defineChannel(...) returns.');
  const engineOptions = engineOptionsIn(path, exported['engineOptions']);
  const existing = existingIn(path, exported['existing'] ?? engineOptions['existing']);
  return {
    channels,
    subscriptions,
    publishes,
    existing,
    engineOptions: Object.keys(existing).length === 0 ? engineOptions : { ...engineOptions, existing },
    reconciliation: exported['reconciliation'],
    decisions: exported['decisions'],
    service: serviceOf(exported['service']),
  };
}

const FORMS = {
  subscriptions: 'a list of { channel: what defineChannel(...) returned, name: "mailer" }',
  publishes: 'a list of what defineChannel(...) returned',
} as const;

/** What is passed over in silence would look as if nothing were there. */
function onlyFitting<T>(
  path: string,
  exported: Readonly<Record<string, unknown>>,
  name: keyof typeof FORMS,
  fits: (value: unknown) => value is T,
): readonly T[] {
  const list = exported[name] === undefined ? [] : listOf(exported[name]);
  if (list.every(fits)) return list;
  throw usage(`--channels ${path}: its "${name}" is not understood`, `Export ${FORMS[name]}.`);
}

function engineOptionsIn(path: string, value: unknown): EngineOptions {
  if (value === undefined) return {};
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as EngineOptions;
  throw usage(
    `--channels ${path}: its "engineOptions" are not understood`,
    'Export what the engine is given beside its URL and prefix: { queueType: "classic" }.',
  );
}

function existingIn(path: string, value: unknown): Existing {
  if (value === undefined) return {};
  const places = typeof value === 'object' && value !== null ? Object.values(value) : [undefined];
  const isPlace = (one: unknown): boolean => {
    const { queue, exchange } = (one ?? {}) as { queue?: unknown; exchange?: unknown };
    return typeof queue === 'string' || typeof exchange === 'string';
  };
  if (!places.every(isPlace))
    throw usage(
      `--channels ${path}: its "existing" is not understood`,
      'Export what the engine is given: { "order.placed": { queue: "legacy.orders" } }, or { exchange }.',
    );
  return value as Existing;
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [value]);

function isChannel(value: unknown): value is Channel {
  const one = value as Partial<Channel> | null | undefined;
  return (
    typeof one === 'object' && one !== null && typeof one.check === 'function' && typeof one.name === 'string'
  );
}

function isSubscription(value: unknown): value is { channel: Channel; name: string } {
  const one = value as { channel?: unknown; name?: unknown } | null | undefined;
  return typeof one === 'object' && one !== null && typeof one.name === 'string' && isChannel(one.channel);
}

function serviceOf(value: unknown): ChannelsModule['service'] {
  return typeof value === 'object' && value !== null ? (value as ChannelsModule['service']) : {};
}
