/**
 * A channel: a named stream of one message type with its contract and what it asks of the engine. The definition's
 * literal types stay on the handle, so that an option the channel did not ask for does not compile in `publish`.
 */
import {
  compileContract,
  type Check,
  type Contract,
  type ContractSchema,
  type DataOf,
  type InputOf,
  type StandardSchema,
} from './contract.ts';
import type { Encoding } from './encoding.ts';
import type { HeadersBinding, RoutingKind } from './routing.ts';
import { refuseUnsound } from './sound-channel.ts';

/**
 * What happens to the messages behind one that fails, on channels with `order: 'key'`:
 * `skip`: they go on, the failing one loses its place. `blockKey`: they wait until it succeeded, or a person redrives
 * or discards its dead letter. `sequencedDlq`: while it is retried they wait; when it is dead they are parked
 * behind it, and redrive replays the sequence.
 */
export type FailureOrder = 'skip' | 'blockKey' | 'sequencedDlq';

/** From weakest to strongest; `disk` is synced to stable storage, `replicated` on several machines. */
export type Durability = 'none' | 'memory' | 'disk' | 'replicated';

export type EmulatableFeature = 'delay' | 'priority' | 'ttl' | 'order' | 'routing';

/** Asked of the engine when the bus starts; unmet ones refuse the start. */
export interface ChannelRequirements {
  /** Least durability of a confirmed publish. Default: whatever the engine states. */
  readonly confirm?: Durability;
  /** Publishing with `delayMs` up to `maxMs`. */
  readonly delay?: { readonly maxMs: number };
  /** Publishing with `priority` 0 (default) to `levels - 1` (first). 2 to 10 levels; strict, so the lowest may starve. */
  readonly priority?: { readonly levels: number };
  /** Publishing with `expiresAt`. */
  readonly ttl?: true;
  /** Reading settled messages again (`bus.rewind`): they are kept at least `keepMs`. */
  readonly replay?: { readonly keepMs: number };
  /** Subscriptions choose by bindings: by the routing key of a message (`direct`, `topic`) or by its headers. */
  readonly routing?: Exclude<RoutingKind, 'fanout'>;
  /**
   * Notices for whoever is there: every consumer hears every message, also those of one subscription. Nothing is kept, so it goes with
   * no order, delay, priority, replay, dead letter or durability.
   */
  readonly broadcast?: true;
  /** What is given up is kept with its history and can be redriven. Durable engines always do; asked for, an engine that keeps nothing refuses to start. */
  readonly deadLetters?: true;
  /** The engine takes messages of at least `maxBytes`: the data with its envelope, as it is encoded. A larger one is refused only where the engine's own limit ends. */
  readonly size?: { readonly maxBytes: number };
  /** Emulations accepted, by name; their costs are in the engine's documentation. */
  readonly emulation?: readonly EmulatableFeature[];
}

export interface ChannelDefinition {
  /** Lower-case words joined by dots or dashes, at most 120 characters, for instance `entries.admitted`. `replies.` is taken. */
  readonly name: string;
  /** Contract of the data: a typebox or plain JSON Schema, or any Standard Schema. */
  readonly schema: ContractSchema;
  /** Contract of the reply, on channels used with `bus.request`. */
  readonly reply?: ContractSchema;
  /** Version of the contract, from 1. Raise it for incompatible changes. */
  readonly version: number;
  /** Default `none`: oldest first, but retries and competing consumers may reorder. `key`: strictly per key. */
  readonly order?: 'none' | 'key';
  /** Default on `order: 'key'`: `sequencedDlq`. */
  readonly onFailure?: FailureOrder;
  readonly requires?: ChannelRequirements;
  /** How the data is written when not as JSON, for instance `avroEncoding(...)`; the schema stays its contract. */
  readonly encoding?: Encoding;
  /**
   * What makes an older version's data one version newer, by the older version's number: `{ 1: (data) => ({ ...data, currency: 'EUR' }) }`
   * takes version 1 to 2. Applied on receive, before the check. Without one an older message has to fit the contract of today. An
   * upcaster answers at once: a message whose upcaster gives a promise is a dead letter (`invalid`).
   */
  readonly upcasters?: Readonly<Record<number, (data: never) => Upcast>>;
}

/** Any data but a promise. `object` is no weak type, so that types without a property of that name fit too. */
export type Upcast =
  | string
  | number
  | boolean
  | null
  | undefined
  | bigint
  | symbol
  | (object & { readonly then?: never });

export interface Channel<D extends ChannelDefinition = ChannelDefinition> {
  readonly name: string;
  readonly version: number;
  readonly order: 'none' | 'key';
  readonly onFailure: FailureOrder;
  readonly requires: ChannelRequirements;
  /** The definition as given; its literal types decide what `publish` takes. */
  readonly definition: D;
  /** Whether data may be published. */
  readonly check: Check;
  readonly checkReply: Check | undefined;
  /** What a handler gets of data that came. */
  readonly read: Contract['read'];
  /** What an asker gets of a reply that came. */
  readonly readReply: Contract['read'] | undefined;
}

/** Data of a channel's messages, as handlers get it: `ChannelData<typeof entriesAdmitted>`. */
export type ChannelData<C extends Channel> = DataOf<C['definition']['schema']>;
/** The same as it is published; another type only where a Standard Schema transforms, coerces or fills in. */
export type ChannelInput<C extends Channel> = InputOf<C['definition']['schema']>;
export type ReplyData<C extends Channel> = C['definition'] extends { readonly reply: infer R }
  ? DataOf<R>
  : never;

interface CommonPublishOptions {
  /** Default: a new UUIDv7. Give one to make a repeated publish recognisable to inboxes. */
  readonly id?: string;
  readonly correlationId?: string;
  readonly causationId?: string;
  readonly traceparent?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

type Requires<C extends Channel, F extends string> = C['definition'] extends { readonly requires: infer R }
  ? R extends { readonly [K in F]: object | string | true }
    ? true
    : false
  : false;

type KeyOption<C extends Channel> = C['definition'] extends { readonly order: 'key' }
  ? { readonly key: string }
  : { readonly key?: string };
type DelayOption<C extends Channel> =
  Requires<C, 'delay'> extends true ? { readonly delayMs?: number } : { readonly delayMs?: never };
type PriorityOption<C extends Channel> =
  Requires<C, 'priority'> extends true ? { readonly priority?: number } : { readonly priority?: never };
/** Milliseconds since the epoch. */
type ExpiryOption<C extends Channel> =
  Requires<C, 'ttl'> extends true ? { readonly expiresAt?: number } : { readonly expiresAt?: never };

type ByKey = { readonly requires: { readonly routing: 'direct' | 'topic' } };
type RoutingKeyOption<C extends Channel> = C['definition'] extends ByKey
  ? { readonly routingKey: string }
  : { readonly routingKey?: never };

/** What a subscription takes: needed on channels with routing, refused on others. */
export type BindingsOption<C extends Channel> = C['definition'] extends ByKey
  ? { readonly bindings: readonly string[] }
  : Requires<C, 'routing'> extends true
    ? { readonly bindings: readonly HeadersBinding[] }
    : { readonly bindings?: never };

export type PublishOptions<C extends Channel = Channel> = CommonPublishOptions &
  RoutingKeyOption<C> &
  KeyOption<C> &
  DelayOption<C> &
  PriorityOption<C> &
  ExpiryOption<C>;

/** The options argument: needed where the channel needs a key, optional elsewhere. */
export type PublishArguments<C extends Channel> = C['definition'] extends { readonly order: 'key' } | ByKey
  ? [options: PublishOptions<C>]
  : [options?: PublishOptions<C>];

/** For each message of a batch: the options, needed where the channel needs a key. */
export type PublishItem<C extends Channel> = C['definition'] extends { readonly order: 'key' } | ByKey
  ? { readonly data: ChannelInput<C>; readonly options: PublishOptions<C> }
  : { readonly data: ChannelInput<C>; readonly options?: PublishOptions<C> };

export type RequestOptions<C extends Channel = Channel> = RoutingKeyOption<C> &
  KeyOption<C> & {
    readonly timeoutMs: number;
    readonly correlationId?: string;
    readonly causationId?: string;
  };

/** `unknown` where it is so or cannot be known, what no channel has where it is not. */
type OrElse<
  C extends Channel,
  Is extends boolean,
  Reason extends string,
> = ChannelDefinition extends C['definition']
  ? unknown
  : Is extends true
    ? unknown
    : { readonly [R in Reason]: never };
/** A channel whose settled messages are kept. */
export type Replayable<C extends Channel> = OrElse<
  C,
  Requires<C, 'replay'>,
  'the channel has no requires.replay'
>;
/** A channel whose handlers answer. */
export type Answerable<C extends Channel> = OrElse<
  C,
  C['definition'] extends { readonly reply: object } ? true : false,
  'the channel has no reply schema'
>;

/** An option that there is none of does not compile: taken silently it would be one that was never asked for. */
type Known<D extends ChannelDefinition> = {
  readonly [K in Exclude<keyof D, keyof ChannelDefinition>]: never;
} & (D extends {
  readonly requires: infer R;
}
  ? { readonly requires: { readonly [K in Exclude<keyof R, keyof ChannelRequirements>]: never } }
  : unknown);

/** As for `publish`, but due at a time: the transaction that appends it may take long. */
export type OutboxMessageOptions<C extends Channel = Channel> = CommonPublishOptions &
  RoutingKeyOption<C> &
  KeyOption<C> &
  PriorityOption<C> &
  ExpiryOption<C> &
  /** ms since the epoch. */
  (Requires<C, 'delay'> extends true ? { readonly dueAt?: number } : { readonly dueAt?: never });
export type OutboxArguments<C extends Channel> = C['definition'] extends { readonly order: 'key' } | ByKey
  ? [options: OutboxMessageOptions<C>]
  : [options?: OutboxMessageOptions<C>];

/** A channel whose data type was named instead of inferred: `defineChannel<EntryAdmitted>({ ... })`. */
export interface NamedDefinition<T> extends Omit<ChannelDefinition, 'schema'> {
  readonly schema: ContractSchema & StandardSchema<T>;
}

/**
 * Makes the typed handle of a channel. Throws DB_MSG_CHANNEL_CONTRADICTION when what is asked excludes itself and
 * DB_MSG_INVALID_OPTIONS when a value is out of bounds; both before any engine is involved.
 */
export function defineChannel<const D extends ChannelDefinition>(definition: D & Known<D>): Channel<D>;
export function defineChannel<T>(definition: ChannelDefinition): Channel<NamedDefinition<T>>;
export function defineChannel(definition: ChannelDefinition): Channel {
  refuseUnsound(definition);
  const { check, read } = compileContract(
    definition.schema,
    definition.encoding === undefined ? 'json' : 'encoded',
  );
  const reply = definition.reply && compileContract(definition.reply);
  return Object.freeze({
    name: definition.name,
    version: definition.version,
    order: definition.order ?? 'none',
    onFailure: definition.onFailure ?? (definition.order === 'key' ? 'sequencedDlq' : 'skip'),
    requires: definition.requires ?? {},
    definition,
    check,
    checkReply: reply?.check,
    read,
    readReply: reply?.read,
  });
}
