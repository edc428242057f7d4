/**
 * The store of the embedded engine: takes a turn (a list of operations), makes it one transaction, answers what is now true.
 * Pure of time, threads and randomness, so it runs the same in its worker thread and inside a simulator.
 *
 * Deciding and storing are one serial step: nothing is decided on a state that may still roll back. When a turn cannot be stored
 * (disk full) it is undone as a whole, in the tables by ROLLBACK and in memory by rebuilding from tables and leases.
 */
import type { DatabaseSync } from 'node:sqlite';
import { MessagingError } from '../../errors.ts';
import { discardDead, listDead, redriveDead } from './dead-letters.ts';
import { decodeRanges, earlier, emptyLog, encodeRanges, lowestOf } from './positions.ts';
import { purgeSettled, purgeUnsubscribed } from './purge.ts';
import { openDatabase, POSITIONS_PER_LOG, primaryCode } from './schema.ts';
import { prepareStatements, type Statements } from './statements.ts';
import { type Consumer, type Cursor, type Log, Subscription, type Turnstile } from './subscription.ts';
import type { Operation, OperationResult, OperationValue, Turn, TurnReply } from './turn.ts';

interface ChannelState {
  readonly name: string;
  ordered: boolean;
  onFailure: 'skip' | 'blockKey' | 'sequencedDlq';
  ephemeral: boolean;
  /** By level, the default level 0 first. */
  readonly logs: Log[];
  readonly subscriptions: Subscription[];
}

export interface StoreOptions {
  /** WAL and FULL are set and checked; without it the database is taken as it is (in memory). */
  readonly durable: boolean;
  /** How long a channel that nobody subscribed to keeps its messages, ms. */
  readonly keepUnsubscribedMs: number;
}

const SCHEDULED_PER_TURN = 1_000;
const UNSUBSCRIBED_CHECK_MS = 60_000;
const SQLITE_FULL = 13;

export class Store {
  readonly #db: DatabaseSync;
  readonly #sql: Statements;
  readonly #options: StoreOptions;
  readonly #turn: Turnstile;
  readonly #channels = new Map<string, ChannelState>();
  readonly #consumers = new Map<
    number,
    { readonly consumer: Consumer; readonly subscription: Subscription }
  >();
  #nextScheduled: number | undefined;
  #unsubscribedCheckedAt = 0;

  /** Opens the database, takes it for itself and counts what a crash left handed out as abandoned. */
  constructor(db: DatabaseSync, options: StoreOptions) {
    this.#db = db;
    this.#options = options;
    openDatabase(db, options);
    this.#sql = prepareStatements(db);
    this.#turn = { sql: this.#sql, now: 0, monotonic: 0, nextToken: 1, ended: [], begun: [] };
    this.#recover();
  }

  /** One transaction. Throws only when the store is lost: then nothing is known, and it must not be used again. */
  run(turn: Turn): TurnReply {
    const state = this.#turn;
    state.now = turn.now;
    state.monotonic = turn.monotonic;
    state.ended.length = 0;
    state.begun.length = 0;
    this.#db.exec('BEGIN IMMEDIATE');
    try {
      const results = turn.operations.map((operation) => this.#attempt(operation));
      const handOuts = this.#advance();
      this.#writeCursors();
      this.#purge();
      this.#db.exec('COMMIT');
      return { results, handOuts, ...this.#nextWake() };
    } catch (error) {
      return this.#undo(turn, error);
    }
  }

  close(): void {
    this.#db.exec('BEGIN IMMEDIATE');
    for (const channel of this.#channels.values()) if (channel.ephemeral) this.#dropChannel(channel);
    this.#db.exec('COMMIT');
  }

  #attempt(operation: Operation): OperationResult {
    try {
      return { value: this.#apply(operation) };
    } catch (error) {
      // Refused before it wrote anything: the others of the turn are not concerned. Everything else undoes the turn.
      if (error instanceof MessagingError) return { error: { code: error.code, message: error.message } };
      throw error;
    }
  }

  #apply(operation: Operation): OperationValue[keyof OperationValue] {
    switch (operation.op) {
      case 'declare':
        return this.#declare(operation);
      case 'publish':
        return this.#publish(operation);
      case 'subscribe':
        return this.#subscribe(operation);
      case 'settle':
        return this.#withConsumer(
          operation.consumer,
          (one) => operation.settlements.map((it) => one.subscription.settle(one.consumer, it)),
          () => operation.settlements.map(() => 'lost' as const),
        );
      case 'extend':
        return this.#withConsumer(
          operation.consumer,
          (one) => operation.tokens.map((it) => one.subscription.extend(one.consumer, it)),
          () => operation.tokens.map(() => 'lost' as const),
        );
      case 'pause':
        return this.#withConsumer(
          operation.consumer,
          (one) => void (one.consumer.paused = true),
          () => undefined,
        );
      case 'leave':
        return this.#leave(operation.consumer);
      case 'inspect':
        return this.#inspect();
      case 'listDead':
        return listDead(this.#db, this.#sql, operation);
      case 'redrive':
        return redriveDead(this.#db, this.#sql, operation, (row) =>
          this.#find(row.channel, row.subscription_name),
        );
      case 'discard':
        return discardDead(
          this.#db,
          operation,
          (row) => this.#find(row.channel, row.subscription_name),
          this.#sql,
        );
    }
  }

  #withConsumer<T>(
    id: number,
    use: (one: { consumer: Consumer; subscription: Subscription }) => T,
    without: () => T,
  ): T {
    const one = this.#consumers.get(id);
    return one ? use(one) : without();
  }

  /** What happens by itself: due messages enter their logs, ended leases come back, and everyone with room is served. */
  #advance(): TurnReply['handOuts'] {
    if (this.#nextScheduled !== undefined && this.#nextScheduled <= this.#turn.now) this.#enterDue();
    const handOuts: TurnReply['handOuts'][number][] = [];
    for (const channel of this.#channels.values()) {
      for (const subscription of channel.subscriptions) {
        if (subscription.consumers.length === 0) continue;
        subscription.endLeases();
        handOuts.push(...subscription.fill());
      }
    }
    return handOuts;
  }

  #undo(turn: Turn, error: unknown): TurnReply {
    if (primaryCode(error) !== SQLITE_FULL) throw error;
    // SQLite may have rolled back by itself already.
    if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
    for (const { consumer, lease } of this.#turn.begun) consumer.leases.delete(lease.token);
    const begun = new Set(this.#turn.begun.map(({ lease }) => lease.token));
    for (const { consumer, lease } of this.#turn.ended)
      if (!begun.has(lease.token)) consumer.leases.set(lease.token, lease);
    this.#load();
    const refusal = {
      error: {
        code: 'DB_MSG_DISK_FULL' as const,
        message: 'no room on the disk: nothing of this turn was stored',
      },
    };
    return { results: turn.operations.map(() => refusal), handOuts: [], ...this.#nextWake() };
  }

  #nextWake(): Pick<TurnReply, 'nextDueAt' | 'nextLeaseEnd'> {
    let due = this.#nextScheduled;
    let leaseEnd: number | undefined;
    for (const { subscriptions } of this.#channels.values()) {
      for (const subscription of subscriptions) {
        if (subscription.consumers.length === 0) continue;
        const wantsMore = subscription.consumers.some((one) => !one.paused && one.leases.size < one.prefetch);
        // A consumer without room is woken by its own settling; waking it for what it cannot take would spin.
        if (wantsMore) due = earlier(due, subscription.nextDue);
        leaseEnd = earlier(leaseEnd, subscription.firstLeaseEnd());
        // The search for free keys stopped at its limit: go on in the next turn.
        if (wantsMore && subscription.cursors.some((cursor) => cursor.next <= cursor.log.head))
          due = this.#turn.now;
      }
    }
    return { nextDueAt: due, nextLeaseEnd: leaseEnd };
  }

  #publish({ rows }: Extract<Operation, { op: 'publish' }>): undefined {
    const logs = rows.map((row) => this.#logOf(row.channel, row.level));
    rows.forEach((row, index) => {
      const log = logs[index] as Log;
      if (row.dueAt !== null && row.dueAt > this.#turn.now) {
        this.#sql.insertScheduled.run(log.log, row.dueAt, row.expiresAt, row.key, row.body);
        this.#nextScheduled = earlier(this.#nextScheduled, row.dueAt);
      } else {
        this.#append(log, row.expiresAt, row.key, row.body);
      }
    });
    return undefined;
  }

  #append(log: Log, expiresAt: number | null, key: string | null, body: string): void {
    log.head += 1;
    this.#sql.insertMessage.run(log.head, this.#turn.now, expiresAt, key, body);
  }

  #logOf(channel: string, level: number): Log {
    const logs = this.#channels.get(channel)?.logs;
    if (!logs) throw new MessagingError('DB_MSG_UNKNOWN_CHANNEL', `channel "${channel}" was never declared`);
    return logs[Math.max(0, Math.min(level, logs.length - 1))] as Log;
  }

  #enterDue(): void {
    const rows = this.#sql.dueScheduled.all(this.#turn.now, SCHEDULED_PER_TURN) as unknown as {
      number: number;
      log: number;
      expires_at: number | null;
      key: string | null;
      body: string;
    }[];
    for (const row of rows) {
      this.#sql.deleteScheduled.run(row.number);
      const log = this.#logByNumber(row.log);
      if (log) this.#append(log, row.expires_at, row.key, row.body);
    }
    this.#readNextScheduled();
  }

  #logByNumber(number: number): Log | undefined {
    for (const { logs } of this.#channels.values()) {
      const found = logs.find((log) => log.log === number);
      if (found) return found;
    }
    return undefined;
  }

  #readNextScheduled(): void {
    const { due_at: dueAt } = this.#sql.nextScheduled.get() as { due_at: number | null };
    this.#nextScheduled = dueAt ?? undefined;
  }

  #declare({ topology }: Extract<Operation, { op: 'declare' }>): undefined {
    for (const one of topology.removed ?? []) this.#removeSubscription(one.channel, one.name);
    for (const spec of topology.channels) {
      this.#sql.upsertChannel.run(
        spec.name,
        spec.order === 'key' ? 1 : 0,
        spec.onFailure,
        spec.ephemeral ? 1 : 0,
      );
      let channel = this.#channels.get(spec.name);
      if (!channel) {
        channel = {
          name: spec.name,
          ordered: false,
          onFailure: 'skip',
          ephemeral: false,
          logs: [],
          subscriptions: [],
        };
        this.#channels.set(spec.name, channel);
      }
      channel.ordered = spec.order === 'key';
      channel.onFailure = spec.onFailure;
      channel.ephemeral = spec.ephemeral;
      for (let level = channel.logs.length; level < spec.priorityLevels; level += 1) {
        const { log } = this.#sql.insertLog.get(spec.name, level) as { log: number };
        channel.logs.push(emptyLog(log, level));
      }
      for (const subscription of channel.subscriptions) this.#equip(channel, subscription);
    }
    for (const { channel, name } of topology.subscriptions) this.#addSubscription(channel, name);
    return undefined;
  }

  #addSubscription(channelName: string, name: string): void {
    const channel = this.#channels.get(channelName);
    if (!channel)
      throw new MessagingError('DB_MSG_UNKNOWN_CHANNEL', `channel "${channelName}" was never declared`);
    if (channel.subscriptions.some((one) => one.name === name)) return;
    const { subscription: id } = this.#sql.insertSubscription.get(channelName, name) as {
      subscription: number;
    };
    const subscription = new Subscription(this.#turn, {
      subscription: id,
      channel: channelName,
      name,
      expired: 0,
    });
    channel.subscriptions.push(subscription);
    this.#equip(channel, subscription);
  }

  /** Gives a subscription the channel's settings and a cursor on each of its logs, the highest priority first. */
  #equip(channel: ChannelState, subscription: Subscription): void {
    subscription.ordered = channel.ordered;
    subscription.onFailure = channel.onFailure;
    for (const log of channel.logs) {
      if (subscription.cursors.some((cursor) => cursor.log === log)) continue;
      subscription.cursors.push({ log, next: log.floor, flying: new Set(), dirty: true });
    }
    subscription.cursors.sort((a, b) => b.log.level - a.log.level);
  }

  #removeSubscription(channelName: string, name: string): void {
    const channel = this.#channels.get(channelName);
    const index = channel?.subscriptions.findIndex((one) => one.name === name) ?? -1;
    if (!channel || index < 0) return;
    const [subscription] = channel.subscriptions.splice(index, 1);
    if (!subscription) return;
    for (const [id, one] of this.#consumers)
      if (one.subscription === subscription) this.#consumers.delete(id);
    this.#sql.deleteSubscriptionCursors.run(subscription.id);
    this.#sql.deleteSubscriptionDeferred.run(subscription.id);
    this.#sql.deleteSubscription.run(subscription.id);
  }

  #dropChannel(channel: ChannelState): void {
    for (const { name } of channel.subscriptions.slice()) this.#removeSubscription(channel.name, name);
    for (const log of channel.logs) {
      this.#sql.deleteMessages.run(log.base, log.head + 1);
      this.#sql.deleteLogScheduled.run(log.log);
      this.#sql.deleteLog.run(log.log);
    }
    this.#sql.deleteChannel.run(channel.name);
    this.#channels.delete(channel.name);
  }

  #find(channel: string, name: string): Subscription | undefined {
    return this.#channels.get(channel)?.subscriptions.find((one) => one.name === name);
  }

  #subscribe(operation: Extract<Operation, { op: 'subscribe' }>): undefined {
    const subscription = this.#find(operation.channel, operation.subscription);
    if (!subscription)
      throw new MessagingError(
        'DB_MSG_UNKNOWN_CHANNEL',
        `subscription "${operation.subscription}" of "${operation.channel}" was never declared`,
      );
    const consumer: Consumer = {
      id: operation.consumer,
      prefetch: operation.prefetch,
      leaseMs: operation.leaseMs,
      leases: new Map(),
      paused: false,
    };
    subscription.consumers.push(consumer);
    this.#consumers.set(consumer.id, { consumer, subscription });
    return undefined;
  }

  #leave(id: number): undefined {
    const one = this.#consumers.get(id);
    if (!one) return undefined;
    one.subscription.releaseAll(one.consumer);
    one.subscription.consumers.splice(one.subscription.consumers.indexOf(one.consumer), 1);
    this.#consumers.delete(id);
    return undefined;
  }

  #writeCursors(): void {
    for (const { subscriptions } of this.#channels.values()) {
      for (const subscription of subscriptions) {
        for (const cursor of subscription.cursors) {
          if (!cursor.dirty) continue;
          cursor.dirty = false;
          this.#sql.upsertCursor.run(
            subscription.id,
            cursor.log.log,
            cursor.next,
            encodeRanges(cursor.flying),
          );
        }
        if (subscription.expiredDirty) {
          subscription.expiredDirty = false;
          this.#sql.setExpired.run(subscription.expired, subscription.id);
        }
      }
    }
  }

  #purge(): void {
    const { now } = this.#turn;
    const checkUnsubscribed = Math.abs(now - this.#unsubscribedCheckedAt) >= UNSUBSCRIBED_CHECK_MS;
    if (checkUnsubscribed) this.#unsubscribedCheckedAt = now;
    for (const { logs, subscriptions } of this.#channels.values()) {
      for (const log of logs) {
        if (subscriptions.length > 0) purgeSettled(this.#sql, log, subscriptions);
        else if (checkUnsubscribed) purgeUnsubscribed(this.#sql, log, now - this.#options.keepUnsubscribedMs);
      }
    }
  }

  /** What was handed out when the last process ended becomes due again, counted as abandoned. */
  #recover(): void {
    this.#db.exec('BEGIN IMMEDIATE');
    for (const row of this.#sql.channels.all() as unknown as { name: string; ephemeral: number }[]) {
      if (row.ephemeral === 1) this.#dropChannelRows(row.name);
    }
    this.#sql.landDeferred.run();
    this.#load();
    for (const { subscriptions } of this.#channels.values()) {
      for (const subscription of subscriptions)
        for (const cursor of subscription.cursors) this.#recoverFlying(subscription, cursor);
    }
    this.#writeCursors();
    this.#db.exec('COMMIT');
    this.#load();
  }

  #dropChannelRows(name: string): void {
    this.#load();
    const channel = this.#channels.get(name);
    if (channel) this.#dropChannel(channel);
  }

  #recoverFlying(subscription: Subscription, cursor: Cursor): void {
    const row = this.#db
      .prepare('SELECT flying FROM cursors WHERE subscription = ? AND log = ?')
      .get(subscription.id, cursor.log.log) as { flying: string } | undefined;
    const copy =
      this.#db.prepare(`INSERT INTO deferred (subscription, origin, due_at, flying, in_lane, stored_at, expires_at, key, state, abandoned, body)
      SELECT ?, position, 0, 0, ?, stored_at, expires_at, key, NULL, 1, body FROM messages WHERE position BETWEEN ? AND ?`);
    for (const [from, to] of decodeRanges(row?.flying ?? '')) {
      copy.run(subscription.id, subscription.ordered ? 1 : 0, from, to);
      cursor.dirty = true;
    }
  }

  /** Reads the tables into memory; leases, which are only in memory, are kept. */
  #load(): void {
    const consumers = new Map<string, Consumer[]>();
    for (const { subscriptions } of this.#channels.values()) {
      for (const one of subscriptions) consumers.set(`${one.channel} ${one.name}`, one.consumers);
    }
    this.#loadTopology();
    const cursors = this.#sql.cursors.all() as unknown as {
      subscription: number;
      log: number;
      next: number;
    }[];
    for (const channel of this.#channels.values()) {
      for (const subscription of channel.subscriptions) {
        const kept = consumers.get(`${channel.name} ${subscription.name}`) ?? [];
        subscription.consumers.splice(0, subscription.consumers.length, ...kept);
        this.#loadCursors(
          channel,
          subscription,
          cursors.filter((row) => row.subscription === subscription.id),
        );
        for (const consumer of subscription.consumers) this.#rebind(consumer, subscription);
        subscription.load();
      }
    }
    this.#readNextScheduled();
  }

  #loadTopology(): void {
    this.#channels.clear();
    for (const row of this.#sql.channels.all() as unknown as {
      name: string;
      ordered: number;
      on_failure: ChannelState['onFailure'];
      ephemeral: number;
    }[]) {
      this.#channels.set(row.name, {
        name: row.name,
        ordered: row.ordered === 1,
        onFailure: row.on_failure,
        ephemeral: row.ephemeral === 1,
        logs: [],
        subscriptions: [],
      });
    }
    const logs = this.#sql.logs.all() as unknown as { log: number; channel: string; level: number }[];
    for (const row of logs.sort((a, b) => a.level - b.level))
      this.#channels.get(row.channel)?.logs.push(this.#readLog(row.log, row.level));
    for (const row of this.#sql.subscriptions.all() as unknown as {
      subscription: number;
      channel: string;
      name: string;
      expired: number;
    }[]) {
      this.#channels.get(row.channel)?.subscriptions.push(new Subscription(this.#turn, row));
    }
  }

  #readLog(number: number, level: number): Log {
    const log = emptyLog(number, level);
    const end = log.base + POSITIONS_PER_LOG - 2;
    const newest = this.#sql.newestMessage.get(log.base, end) as { position: number } | undefined;
    const oldest = this.#sql.oldestMessage.get(log.base, end) as { position: number } | undefined;
    if (newest) log.head = newest.position;
    if (oldest) log.floor = oldest.position;
    return log;
  }

  #loadCursors(
    channel: ChannelState,
    subscription: Subscription,
    rows: readonly { log: number; next: number }[],
  ): void {
    this.#equip(channel, subscription);
    for (const cursor of subscription.cursors) {
      const row = rows.find((one) => one.log === cursor.log.log);
      if (!row) continue;
      cursor.next = row.next;
      cursor.dirty = false;
    }
  }

  /** Leases name cursors; after a reload they have to name the new ones. */
  #rebind(consumer: Consumer, subscription: Subscription): void {
    for (const [token, lease] of consumer.leases) {
      if (!lease.cursor) continue;
      const cursor = subscription.cursors.find((one) => one.log.log === lease.cursor?.log.log);
      consumer.leases.set(token, { ...lease, cursor });
    }
    this.#consumers.set(consumer.id, { consumer, subscription });
  }

  #inspect(): OperationValue['inspect'] {
    const pages = this.#db.prepare('PRAGMA page_count').get() as { page_count: number };
    const size = this.#db.prepare('PRAGMA page_size').get() as { page_size: number };
    const channels = [...this.#channels.values()]
      .filter((channel) => !channel.ephemeral)
      .map((channel) => ({
        name: channel.name,
        scheduled: channel.logs.reduce(
          (sum, log) => sum + (this.#sql.countScheduled.get(log.log) as { count: number }).count,
          0,
        ),
        subscriptions: channel.subscriptions.map((one) => one.view(this.#oldestStored(one))),
      }));
    return { channels, storedBytes: pages.page_count * size.page_size };
  }

  #oldestStored(subscription: Subscription): number | undefined {
    let oldest: number | undefined;
    for (const cursor of subscription.cursors) {
      const from = lowestOf(cursor);
      const row = this.#sql.oldestMessage.get(from, cursor.log.head) as { stored_at: number } | undefined;
      oldest = earlier(oldest, row?.stored_at);
    }
    return oldest;
  }
}
