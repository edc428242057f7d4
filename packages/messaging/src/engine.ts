/**
 * THE port: what an engine (embedded, RabbitMQ, Kafka, Redis) has to do, and nothing that the toolkit can do above it.
 * Retries, attempts, contracts, history, request and reply live in the bus; the engine stores, hands out and
 * settles. `conformance/` holds every sentence below as a test.
 */
import type { Durability, FailureOrder } from './channel.ts';
import type { Clock } from './clock.ts';
import type { Message } from './message.ts';
import type { Binding, RoutingKind } from './routing.ts';

export interface Engine {
  /** Names the kind: `embedded`, `rabbitmq`. Used in errors and views. */
  readonly name: string;
  /** For who watches, known before it is connected. Undefined without a server, and where several addresses are named: none of them is that of every operation. */
  readonly server?: ServerAddress | undefined;
  /** For who watches: what the server itself calls those that share this subscription. Left out where it knows no groups of consumers. */
  consumerGroupOf?(subscription: SubscriptionName): string;
  /**
   * Opens the store or the connection and probes what this instance really can do. Rejects when it is out of reach,
   * held by another (DB_MSG_ENGINE_LOCKED) or unable to keep what it would promise (DB_MSG_ENGINE_UNSAFE).
   */
  connect(context: EngineContext): Promise<EngineConnection>;
}

/** As it was given, not as it was resolved; never with a user or a password. */
export interface ServerAddress {
  /** A name or an IP address, one of IPv6 without brackets. */
  readonly address: string;
  readonly port: number;
}

export interface EngineContext {
  readonly clock: Clock;
  /** Called once when the engine failed for good (a failed sync, a dead writer). Everything later rejects; the owner should end the process. */
  readonly onFatal: (error: Error) => void;
}

export interface EngineConnection {
  readonly capabilities: Capabilities;

  /**
   * What the places of these channels can do that are on the server already, where that may be other than what `capabilities` states: they have settings of their own, or are
   * somebody else's. The bus asks before it declares and refuses the start by it, so nothing is made. A channel or a property that is not in the answer
   * gets what `capabilities` states. An engine whose places are all alike leaves it out.
   */
  standing?(channels: readonly ChannelSpec[]): Promise<ReadonlyMap<string, ChannelStanding>>;

  /**
   * Creates what is missing and takes the settings of what exists; may be called again. A subscription that did not exist begins
   * with the oldest message still kept. What `removed` names is forgotten with its backlog; its dead letters stay. Rejects with DB_MSG_SUBSCRIPTION_BUSY while the
   * engine sees consumers of it: nothing of that one is lost then.
   */
  declare(topology: Topology): Promise<void>;

  /**
   * Stores the messages in this order and resolves only when all have the durability that the confirmations state.
   * A rejection with `retryable` true means that none was stored or that it is unknown: publish again with the same ids.
   */
  publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishConfirmation[]>;

  /**
   * Hands messages of one subscription to `receive`, at most `prefetch` unsettled at once, each under a lease. At least
   * once: what is not settled or extended within its lease, or whose consumer is gone, is handed out again with
   * `abandoned` raised. On channels with order per key one message of a key is out at a time. Oldest first within
   * a priority. Several consumers of one subscription compete. `receive` must not throw.
   */
  subscribe(spec: ConsumerSpec, receive: (deliveries: readonly Delivery[]) => void): Promise<Consumer>;

  /** Counts for people. Cheap enough to be called every second. */
  inspect(): Promise<EngineView>;

  /**
   * What waits in a subscription, oldest first, at most `limit`, without taking it or counting a hand-out: for people. What is
   * out at a consumer may be left out, and so may what waits for a time. Rejects with DB_MSG_UNKNOWN_CHANNEL where there is no such subscription.
   */
  peek(subscription: SubscriptionName, limit: number): Promise<readonly PeekedMessage[]>;

  /**
   * Moves a subscription: what its channel still keeps from there on is handed out (again), also what was settled; what is before is not.
   * Dead letters stay. Rejects with DB_MSG_UNKNOWN_CHANNEL where there is no such subscription, with DB_MSG_SUBSCRIPTION_BUSY while the engine sees consumers of it, and with
   * DB_MSG_UNSUPPORTED_CAPABILITY where `replay` is `none` or the channel declared no `keepMs`. A `dryRun` rejects for the same reasons and
   * moves nothing.
   */
  rewind(
    subscription: SubscriptionName,
    from: ReplayPoint,
    options?: { readonly dryRun?: boolean },
  ): Promise<void>;

  readonly deadLetters: DeadLetterStore;

  /** Releases what is unsettled, flushes and lets go of the store. Later calls reject with DB_MSG_STOPPED. */
  close(): Promise<void>;
}

export type Support = 'native' | 'emulated' | 'none';

/** What the connected instance can do. `none` is an answer; a silent no-op is not. */
export interface Capabilities {
  readonly version: string;
  /** What a resolved publish means. */
  readonly confirm: Durability;
  readonly orderPerKey: Support;
  readonly delay: { readonly support: Support; readonly maxMs: number; readonly resolutionMs: number };
  readonly priority: { readonly support: Support; readonly levels: number };
  readonly ttl: { readonly support: Support; readonly granularity: 'message' | 'channel' };
  readonly replay: Support;
  readonly routing: {
    readonly direct: Support;
    readonly fanout: Support;
    readonly topic: Support;
    readonly headers: Support;
  };
  /** Every consumer hears every message, also those of one subscription, and nothing is kept for who is away. */
  readonly broadcast: Support;
  /** `none`: what is given up is lost. A durable engine keeps it. */
  readonly deadLetters: 'native' | 'none';
  /** Whether several processes may use one store at once, or are refused. */
  readonly processes: 'many' | 'one';
  readonly maxMessageBytes: number;
}

/** Of one channel: the least that any of its places gives. */
export interface ChannelStanding {
  readonly confirm?: StandingPlace & { readonly durability: Durability };
  readonly size?: StandingPlace & { readonly maxMessageBytes: number };
}

export interface StandingPlace {
  /** What it is true of, as an operator knows it, for instance `topic "orders"`. */
  readonly place: string;
  /** What would raise it, each a clause that may follow `Remedies: `. */
  readonly remedies: readonly string[];
}

export interface Topology {
  readonly channels: readonly ChannelSpec[];
  readonly subscriptions: readonly SubscriptionSpec[];
  readonly removed?: readonly SubscriptionName[];
}

export interface SubscriptionName {
  readonly channel: string;
  readonly name: string;
}

export interface SubscriptionSpec extends SubscriptionName {
  /** On channels with routing: what it gets from now on; they replace those of before. Not given: the bindings on record stay. */
  readonly bindings?: readonly Binding[];
}

/** `offset` is the engine's own text, as `PeekedMessage.offset` shows it; `timeMs` is ms since the epoch, of publishing. */
export type ReplayPoint = 'earliest' | 'latest' | { readonly timeMs: number } | { readonly offset: string };

export interface PeekedMessage {
  /** The place in the engine's log; undefined where the engine has none. */
  readonly offset: string | undefined;
  readonly message: Message | undefined;
  readonly raw: string;
}

export interface ChannelSpec {
  readonly name: string;
  readonly order: 'none' | 'key';
  readonly onFailure: FailureOrder;
  /** 1 without priorities. */
  readonly priorityLevels: number;
  /** The channel and what is in it go with this connection (replies). */
  readonly ephemeral: boolean;
  /**
   * `fanout`: every subscription gets every message. Otherwise a subscription gets what one of its bindings takes, and a message that no
   * binding takes rejects with DB_MSG_UNROUTABLE where `capabilities.routing` is `native`; where it is `emulated` consumers
   * drop what is not theirs, and nobody can know.
   */
  readonly routing: RoutingKind;
  /** Settled messages stay for replay at least so long, ms; undefined: they may go at once. */
  readonly keepMs: number | undefined;
}

export interface OutgoingMessage {
  readonly channel: string;
  readonly message: Message;
  /** Not handed out before this time, ms since the epoch. */
  readonly dueAt?: number;
  /** 0 is the default and the last. */
  readonly priority?: number;
}

/** States what is now true of the message; never more than the engine can vouch for. */
export interface PublishConfirmation {
  readonly id: string;
  readonly durability: Durability;
  /** ms since the epoch. */
  readonly confirmedAt: number;
}

export interface ConsumerSpec {
  readonly channel: string;
  readonly subscription: string;
  readonly prefetch: number;
  readonly leaseMs: number;
}

/** Opaque to the toolkit, unique per hand-out: it is the fence that makes a late settlement of a lost lease harmless. */
export type DeliveryToken = number | string;

export interface Delivery {
  readonly token: DeliveryToken;
  /** Undefined when the payload is not a CloudEvent: then `malformed` says why and `raw` is what came. */
  readonly message: Message | undefined;
  readonly malformed?: string;
  readonly raw: string;
  /** What the toolkit gave with the last `retry` or dead letter of this message, untouched. */
  readonly state: string | undefined;
  /** Earlier hand-outs that ended without a settlement (a crash, a lost lease); undefined when the engine cannot know. */
  readonly abandoned: number | undefined;
}

export type Settlement =
  | { readonly kind: 'ack'; readonly token: DeliveryToken }
  /** Hand out again at `dueAt` (ms since the epoch) with this state. */
  | { readonly kind: 'retry'; readonly token: DeliveryToken; readonly dueAt: number; readonly state: string }
  /** Give back untouched, as if it had never been handed out. */
  | { readonly kind: 'release'; readonly token: DeliveryToken }
  | { readonly kind: 'deadLetter'; readonly token: DeliveryToken; readonly letter: Letter };

export interface Letter {
  /** Given by the toolkit; a redriven message links to it through its state. */
  readonly id: string;
  readonly reason: string;
  /** Dead letters of one cause share it. */
  readonly group: string;
  /** ms since the epoch. */
  readonly at: number;
  readonly history: readonly FailureRecord[];
  /** Handed back as `Delivery.state` after a redrive. */
  readonly stateOnRedrive: string;
}

export interface FailureRecord {
  readonly attempt: number;
  /** ISO 8601. */
  readonly at: string;
  readonly kind: 'threw' | 'retry' | 'deadLetter' | 'abandoned' | 'malformed' | 'invalid' | 'redriven';
  readonly reason: string;
}

/** `lost`: the lease had ended before; nothing was changed, and the message is or will be someone else's. */
export type SettleResult = 'settled' | 'lost';

export interface Consumer {
  /** Settles durably, all in one step where the engine can. Rejects when nothing is known to be settled; trying again is safe. */
  settle(settlements: readonly Settlement[]): Promise<readonly SettleResult[]>;
  /** Heartbeat: each lease now lasts `leaseMs` from now. */
  extend(tokens: readonly DeliveryToken[]): Promise<readonly SettleResult[]>;
  /** Hands out nothing more; what is out stays out and can be settled. */
  pause(): Promise<void>;
  /** Pauses, releases what is unsettled without counting it, and leaves. */
  close(): Promise<void>;
}

export interface DeadLetterFilter {
  readonly channel?: string;
  readonly subscription?: string;
  readonly group?: string;
  readonly key?: string;
  /** Ids of messages. */
  readonly messageIds?: readonly string[];
  /** Parked before this time, ms since the epoch. */
  readonly before?: number;
}

export interface DeadLetterRecord {
  readonly id: string;
  readonly channel: string;
  readonly subscription: string;
  readonly messageId: string;
  readonly key: string | undefined;
  readonly reason: string;
  readonly group: string;
  /** ms since the epoch. */
  readonly parkedAt: number;
  readonly history: readonly FailureRecord[];
  /** The message as stored: a CloudEvent, or what came instead of one. */
  readonly raw: string;
}

export interface DeadLetterStore {
  /** Oldest first; `after` is the `id` of the last one seen. */
  list(
    filter: DeadLetterFilter,
    page: { readonly limit: number; readonly after?: string },
  ): Promise<readonly DeadLetterRecord[]>;
  /**
   * Puts at most `limit` back with the same message id, at the front of their subscription where the engine can, else at its end. A parked
   * sequence of a key goes back as a whole and in order, so `moved` may exceed the limit. Call again while `remaining` is above 0: a filter is
   * worked off in steps.
   */
  redrive(
    filter: DeadLetterFilter,
    limit: number,
  ): Promise<{ readonly moved: number; readonly remaining: number }>;
  /**
   * The dead letter `id` leaves, and `message` (a new one, with its own id) takes the place that a redrive would have given it, in this
   * subscription only, with `state`. In one step where the engine can; where it cannot the new one is stored first. False when there is no such letter.
   */
  redriveEdited(id: string, message: Message, state: string): Promise<boolean>;
  /** Forgets them; a key they blocked goes on. */
  discard(
    filter: DeadLetterFilter,
    limit: number,
  ): Promise<{ readonly moved: number; readonly remaining: number }>;
}

export interface EngineView {
  readonly engine: string;
  readonly channels: readonly ChannelView[];
  /** Bytes on disk, where the engine knows. */
  readonly storedBytes: number | undefined;
  /** Every channel and subscription of the store is shown, so what is not shown is not there. Left out: only what was declared on this connection is. */
  readonly showsAll?: boolean;
}

export interface ChannelView {
  readonly name: string;
  readonly subscriptions: readonly SubscriptionView[];
  /** Published with a delay and not due yet; undefined where the engine cannot tell, or not from what else waits for a time in its subscriptions. */
  readonly scheduled: number | undefined;
}

export interface SubscriptionView {
  readonly name: string;
  readonly ready: number;
  /** Waiting for a time: retried or snoozed. */
  readonly delayed: number;
  /** Waiting behind another message of their key. */
  readonly waitingForKey: number;
  readonly inFlight: number;
  /** Age in ms of the oldest message that is not settled; undefined when there is none, and where the engine cannot tell (`partial` names it then). */
  readonly oldestAgeMs: number | undefined;
  readonly deadLetters: readonly { readonly group: string; readonly count: number }[];
  /** Dropped unhandled because their time had passed, since this store was made. */
  readonly expired: number;
  readonly consumers: number;
  /**
   * Which of these may say too little, because the engine does not see all there is: counts that are of this process only, an age where an older message may
   * wait. Left out: they are of the whole engine. Reconciliation takes nothing for lost that may be in what is not seen.
   */
  readonly partial?: readonly PartialCount[];
}

export type PartialCount = 'ready' | 'delayed' | 'waitingForKey' | 'inFlight' | 'oldestAgeMs';
