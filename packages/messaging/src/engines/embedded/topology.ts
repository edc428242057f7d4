/**
 * Channels, their logs and subscriptions as the writer knows them: declared, kept in the tables, read again after a restart or an undone
 * turn. Who consumes is not kept here; the store lends the consumers back after a reload.
 */
import { MessagingError } from '../../errors.ts';
import type { FailureOrder } from '../../channel.ts';
import type { ChannelSpec, SubscriptionName, SubscriptionSpec, Topology } from '../../engine.ts';
import type { RoutingKind } from '../../routing.ts';
import { bind, countUnbound, readBindings } from './bindings.ts';
import { emptyLog, endOf, wholeMs } from './positions.ts';
import type { Cursor, Log, Turnstile } from './state.ts';
import { Subscription } from './subscription.ts';

export interface ChannelState {
  readonly name: string;
  ordered: boolean;
  onFailure: FailureOrder;
  ephemeral: boolean;
  routing: RoutingKind;
  keepMs: number | undefined;
  /** By level, the default level 0 first. */
  readonly logs: Log[];
  readonly subscriptions: Subscription[];
}

interface BindingRow {
  readonly subscription: number;
  readonly log: number;
  readonly since: number;
  readonly bindings: string;
}

export class StoredTopology {
  readonly #channels = new Map<string, ChannelState>();
  readonly #turn: Turnstile;
  readonly #onRemoved: (subscription: Subscription) => void;

  /** `onRemoved` is told of each subscription that is forgotten, so that its consumers can be too. */
  constructor(turn: Turnstile, onRemoved: (subscription: Subscription) => void) {
    this.#turn = turn;
    this.#onRemoved = onRemoved;
  }

  channels(): Iterable<ChannelState> {
    return this.#channels.values();
  }

  channel(name: string): ChannelState | undefined {
    return this.#channels.get(name);
  }

  find(channel: string, name: string): Subscription | undefined {
    return this.#channels.get(channel)?.subscriptions.find((one) => one.name === name);
  }

  /** Throws DB_MSG_UNKNOWN_CHANNEL. */
  subscription(channel: string, name: string): Subscription {
    const found = this.find(channel, name);
    if (found) return found;
    throw new MessagingError(
      'DB_MSG_UNKNOWN_CHANNEL',
      `subscription "${name}" of "${channel}" was never declared`,
    );
  }

  /** The log of a level; levels beyond those of the channel fall into its last. Throws DB_MSG_UNKNOWN_CHANNEL. */
  logOf(channel: string, level: number): Log {
    const logs = this.#channels.get(channel)?.logs;
    if (!logs) throw new MessagingError('DB_MSG_UNKNOWN_CHANNEL', `channel "${channel}" was never declared`);
    return logs[Math.max(0, Math.min(level, logs.length - 1))] as Log;
  }

  logByNumber(number: number): Log | undefined {
    for (const { logs } of this.#channels.values()) {
      const found = logs.find((log) => log.log === number);
      if (found) return found;
    }
    return undefined;
  }

  /** The cursors of all subscriptions on a log. */
  cursorsOf(log: Log): Cursor[] {
    const { subscriptions } = this.#channels.get(log.channel) as ChannelState;
    return subscriptions.map(({ cursors }) => cursors.find((one) => one.log === log) as Cursor);
  }

  declare({ channels, subscriptions, removed }: Topology): undefined {
    // Refused before anything is written: the others of the turn stay.
    for (const spec of channels) this.#refuseToLose(spec);
    for (const one of removed ?? []) this.#refuseBusy(one);
    for (const { channel, name } of removed ?? []) this.#removeSubscription(channel, name);
    for (const spec of channels) this.#declareChannel(spec);
    for (const spec of subscriptions) this.#declareSubscription(spec);
    return undefined;
  }

  /** What others count on as durable must not go with one connection of theirs. */
  #refuseToLose({ name, ephemeral }: ChannelSpec): void {
    if (ephemeral && this.#channels.get(name)?.ephemeral === false)
      throw new MessagingError('DB_MSG_INVALID_OPTIONS', `channel "${name}" is durable already`);
  }

  /** Its backlog would go while it is handled, and its consumers would wait for ever. */
  #refuseBusy({ channel, name }: SubscriptionName): void {
    const count = this.find(channel, name)?.consumers.length ?? 0;
    if (count > 0)
      throw new MessagingError(
        'DB_MSG_SUBSCRIPTION_BUSY',
        `subscription "${name}" of "${channel}" has ${count} consumers; stop them before it is forgotten`,
      );
  }

  #declareChannel(spec: ChannelSpec): void {
    const { sql } = this.#turn;
    sql.upsertChannel.run(
      spec.name,
      spec.order === 'key' ? 1 : 0,
      spec.onFailure,
      spec.ephemeral ? 1 : 0,
      spec.routing,
      spec.keepMs === undefined ? null : wholeMs(spec.keepMs),
    );
    let channel = this.#channels.get(spec.name);
    if (!channel) {
      channel = {
        name: spec.name,
        ordered: false,
        onFailure: 'skip',
        ephemeral: false,
        routing: 'fanout',
        keepMs: undefined,
        logs: [],
        subscriptions: [],
      };
      this.#channels.set(spec.name, channel);
    }
    const routedElse = channel.routing !== spec.routing;
    channel.ordered = spec.order === 'key';
    channel.onFailure = spec.onFailure;
    channel.ephemeral = spec.ephemeral;
    channel.routing = spec.routing;
    channel.keepMs = spec.keepMs;
    for (let level = channel.logs.length; level < spec.priorityLevels; level += 1) {
      const { log } = sql.insertLog.get(spec.name, level) as { log: number };
      channel.logs.push(emptyLog(spec.name, log, level));
    }
    this.#equipAll(channel);
    if (routedElse)
      for (const { cursors } of channel.subscriptions)
        for (const cursor of cursors) countUnbound(sql, cursor);
  }

  #declareSubscription({ channel: channelName, name, bindings }: SubscriptionSpec): void {
    const channel = this.#channels.get(channelName);
    if (!channel)
      throw new MessagingError('DB_MSG_UNKNOWN_CHANNEL', `channel "${channelName}" was never declared`);
    const subscription = this.find(channelName, name) ?? this.#addSubscription(channel, name);
    if (!bindings) return;
    for (const cursor of subscription.cursors) {
      const isFirst = cursor.bindings.length === 0;
      bind(this.#turn.sql, subscription, cursor, bindings);
      // Later ones hold for what is to come only.
      if (isFirst) countUnbound(this.#turn.sql, cursor);
    }
  }

  #addSubscription(channel: ChannelState, name: string): Subscription {
    const { subscription: id } = this.#turn.sql.insertSubscription.get(channel.name, name) as {
      subscription: number;
    };
    const subscription = new Subscription(this.#turn, {
      subscription: id,
      channel: channel.name,
      name,
      expired: 0,
    });
    channel.subscriptions.push(subscription);
    this.#equip(channel, subscription);
    return subscription;
  }

  #equipAll(channel: ChannelState): void {
    for (const log of channel.logs) {
      log.routing = channel.routing;
      log.keptUntil = 0;
    }
    for (const subscription of channel.subscriptions) this.#equip(channel, subscription);
  }

  /** Gives a subscription the channel's settings and a cursor on each of its logs, the highest priority first. */
  #equip(channel: ChannelState, subscription: Subscription): void {
    subscription.ordered = channel.ordered;
    subscription.onFailure = channel.onFailure;
    subscription.routing = channel.routing;
    const bindings = subscription.cursors[0]?.bindings.at(-1)?.bindings;
    for (const log of channel.logs) {
      if (subscription.cursors.some((cursor) => cursor.log === log)) continue;
      const cursor = {
        log,
        next: log.floor,
        flying: new Set<number>(),
        dirty: true,
        bindings: [],
        unbound: 0,
      };
      subscription.cursors.push(cursor);
      if (bindings) bind(this.#turn.sql, subscription, cursor, bindings);
    }
    subscription.cursors.sort((a, b) => b.log.level - a.log.level);
  }

  #removeSubscription(channelName: string, name: string): void {
    const { sql } = this.#turn;
    const channel = this.#channels.get(channelName);
    const index = channel?.subscriptions.findIndex((one) => one.name === name) ?? -1;
    if (!channel || index < 0) return;
    const [subscription] = channel.subscriptions.splice(index, 1);
    if (!subscription) return;
    this.#onRemoved(subscription);
    sql.deleteSubscriptionCursors.run(subscription.id);
    sql.deleteSubscriptionDeferred.run(subscription.id);
    sql.deleteSubscriptionBindings.run(subscription.id);
    sql.deleteSubscription.run(subscription.id);
  }

  /** Forgets a channel with everything in it. */
  drop(channel: ChannelState): void {
    const { sql } = this.#turn;
    for (const { name } of channel.subscriptions.slice()) this.#removeSubscription(channel.name, name);
    for (const log of channel.logs) {
      sql.deleteMessages.run(log.base, log.head + 1);
      sql.deleteLogScheduled.run(log.log);
      sql.deleteLog.run(log.log);
    }
    sql.deleteChannel.run(channel.name);
    this.#channels.delete(channel.name);
  }

  dropEphemeral(): void {
    for (const channel of this.#channels.values()) if (channel.ephemeral) this.drop(channel);
  }

  /** Reads everything from the tables. Consumers, and what follows from them, are the caller's to lend again. */
  load(): void {
    this.#channels.clear();
    this.#loadChannels();
    const { sql } = this.#turn;
    const cursors = sql.cursors.all() as unknown as { subscription: number; log: number; next: number }[];
    const bindings = sql.bindings.all() as unknown as BindingRow[];
    for (const channel of this.#channels.values()) {
      for (const subscription of channel.subscriptions) {
        this.#equipAll(channel);
        for (const cursor of subscription.cursors) {
          const isOurs = (row: { subscription: number; log: number }): boolean =>
            row.subscription === subscription.id && row.log === cursor.log.log;
          this.#loadCursor(cursor, cursors.find(isOurs), bindings.filter(isOurs));
        }
      }
    }
  }

  #loadCursor(cursor: Cursor, row: { next: number } | undefined, bindings: readonly BindingRow[]): void {
    cursor.bindings = bindings.map((one) => ({
      since: one.since,
      bindings: readBindings(one.bindings),
    }));
    if (row) {
      cursor.next = row.next;
      cursor.dirty = false;
    }
    countUnbound(this.#turn.sql, cursor);
  }

  #loadChannels(): void {
    const { sql } = this.#turn;
    for (const row of sql.channels.all() as unknown as {
      name: string;
      ordered: number;
      on_failure: FailureOrder;
      ephemeral: number;
      routing: RoutingKind;
      keep_ms: number | null;
    }[]) {
      this.#channels.set(row.name, {
        name: row.name,
        ordered: row.ordered === 1,
        onFailure: row.on_failure,
        ephemeral: row.ephemeral === 1,
        routing: row.routing,
        keepMs: row.keep_ms ?? undefined,
        logs: [],
        subscriptions: [],
      });
    }
    const logs = sql.logs.all() as unknown as { log: number; channel: string; level: number }[];
    for (const row of logs.sort((a, b) => a.level - b.level))
      this.#channels.get(row.channel)?.logs.push(this.#readLog(row.channel, row.log, row.level));
    for (const row of sql.subscriptions.all() as unknown as {
      subscription: number;
      channel: string;
      name: string;
      expired: number;
    }[]) {
      this.#channels.get(row.channel)?.subscriptions.push(new Subscription(this.#turn, row));
    }
  }

  #readLog(channel: string, number: number, level: number): Log {
    const log = emptyLog(channel, number, level);
    const end = endOf(log);
    const newest = this.#turn.sql.newestMessage.get(log.base, end) as { position: number } | undefined;
    const oldest = this.#turn.sql.oldestMessage.get(log.base, end) as { position: number } | undefined;
    if (newest) log.head = newest.position;
    if (oldest) log.floor = oldest.position;
    return log;
  }
}
