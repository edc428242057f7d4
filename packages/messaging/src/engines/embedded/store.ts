/**
 * The store of the embedded engine: takes a turn (a list of operations), makes it one transaction, answers what is now true.
 * Pure of time, threads and randomness, so it runs the same in its worker thread and inside a simulator.
 *
 * Deciding and storing are one serial step: nothing is decided on a state that may still roll back. When a turn cannot be stored
 * (disk full) it is undone as a whole, in the tables by ROLLBACK and in memory by rebuilding from tables and leases.
 */
import type { DatabaseSync } from 'node:sqlite';
import { MessagingError } from '../../errors.ts';
import { passOver, routeOf, takesNow } from './bindings.ts';
import { discardDead, listDead, redriveDead, redriveEditedDead } from './dead-letters.ts';
import { decodeRanges, earlier, encodeRanges } from './positions.ts';
import { purgeSettled, purgeUnsubscribed } from './purge.ts';
import { ReadAhead } from './read-ahead.ts';
import { peekWaiting, refuseBadOffset, rewind } from './replay.ts';
import { openDatabase, primaryCode } from './schema.ts';
import type { Consumer, Cursor, Log, Turnstile } from './state.ts';
import { prepareStatements, type Statements } from './statements.ts';
import type { DeadRow, Subscription } from './subscription.ts';
import { StoredTopology } from './topology.ts';
import type { Operation, OperationResult, OperationValue, PublishRow, Turn, TurnReply } from './turn.ts';
import { isUnfit, refusalOf, UnfitOperation } from './unfit.ts';
import { viewOf } from './view.ts';

export interface StoreOptions {
  /** WAL and FULL are set and checked; without it the database is taken as it is (in memory). */
  readonly durable: boolean;
  /** How long a channel that nobody subscribed to keeps its messages, ms. */
  readonly keepUnsubscribedMs: number;
}

const SCHEDULED_PER_TURN = 1_000;
const UNSUBSCRIBED_CHECK_MS = 60_000;
const SQLITE_FULL = 13;
/** What fell due meets the same full disk: it is not tried again at once. */
const FULL_PAUSE_MS = 500;

interface ConsumerNote {
  readonly consumer: Consumer;
  readonly channel: string;
  readonly name: string;
  readonly paused: boolean;
}

export class Store {
  readonly #db: DatabaseSync;
  readonly #sql: Statements;
  readonly #options: StoreOptions;
  readonly #turn: Turnstile;
  readonly #topology: StoredTopology;
  readonly #consumers = new Map<
    number,
    { readonly consumer: Consumer; readonly subscription: Subscription }
  >();
  #note: ConsumerNote[] = [];
  #nextScheduled: number | undefined;
  #unsubscribedCheckedAt = 0;
  readonly #stopwatch: (() => number) | undefined;

  /**
   * Opens the database, takes it for itself and counts what a crash left handed out as abandoned. `stopwatch` (monotonic ms) only tells how
   * long commits take: nothing here depends on it.
   */
  constructor(db: DatabaseSync, options: StoreOptions, stopwatch?: () => number) {
    this.#db = db;
    this.#stopwatch = stopwatch;
    this.#options = options;
    openDatabase(db, options);
    this.#sql = prepareStatements(db);
    this.#turn = {
      sql: this.#sql,
      now: 0,
      monotonic: 0,
      nextToken: 1,
      ahead: new ReadAhead(),
      ended: [],
      begun: [],
    };
    this.#topology = new StoredTopology(this.#turn, (subscription) => this.#forgetConsumers(subscription));
    this.#recover();
  }

  /** One transaction. What it hands out is told to `foretell` before its commit. Throws only when the store is lost: then nothing is known, and it must not be used again. */
  run(turn: Turn, foretell: (handOuts: TurnReply['handOuts']) => void = () => {}): TurnReply {
    return this.#run(turn, foretell, new Map());
  }

  /** Those in `refused` proved unfit for the tables in an earlier try of this turn, which was undone; the others are done without them. */
  #run(
    turn: Turn,
    foretell: (handOuts: TurnReply['handOuts']) => void,
    refused: ReadonlyMap<Operation, OperationResult>,
  ): TurnReply {
    const state = this.#turn;
    state.now = turn.now;
    state.monotonic = turn.monotonic;
    state.ended.length = 0;
    state.begun.length = 0;
    this.#takeNote();
    this.#db.exec('BEGIN IMMEDIATE');
    try {
      const results = turn.operations.map((operation) => refused.get(operation) ?? this.#attempt(operation));
      const handOuts = this.#advance();
      this.#writeCursors();
      this.#purge();
      if (handOuts.length > 0) foretell(handOuts);
      const commitMs = this.#commit();
      return { results, handOuts, ...this.#nextWake(), commitMs };
    } catch (error) {
      if (!(error instanceof UnfitOperation)) return this.#undone(turn, error);
      this.#undo();
      return this.#run(turn, foretell, new Map([...refused, [error.operation, refusalOf(error)]]));
    }
  }

  /** Between turns, for a writer that would wait: bodies that the next turn may hand out by their places here. Undefined: none, and those of before still hold. */
  readAhead(): readonly string[] | undefined {
    return this.#turn.ahead.read(this.#sql)?.map(([, , , body]) => body);
  }

  #commit(): number | undefined {
    const from = this.#stopwatch?.();
    this.#db.exec('COMMIT');
    return from === undefined ? undefined : (this.#stopwatch?.() ?? from) - from;
  }

  close(): void {
    this.#db.exec('BEGIN IMMEDIATE');
    this.#topology.dropEphemeral();
    this.#db.exec('COMMIT');
  }

  #attempt(operation: Operation): OperationResult {
    try {
      return { value: this.#apply(operation) };
    } catch (error) {
      // Refused before it wrote anything: the others of the turn are not concerned. Everything else undoes the turn.
      if (error instanceof MessagingError) return { error: { code: error.code, message: error.message } };
      if (isUnfit(error)) throw new UnfitOperation(operation, error as Error);
      throw error;
    }
  }

  #apply(operation: Operation): OperationValue[keyof OperationValue] {
    switch (operation.op) {
      case 'declare':
        return this.#topology.declare(operation.topology);
      case 'publish':
        return this.#publish(operation);
      case 'subscribe':
        return this.#subscribe(operation);
      case 'settle':
        return this.#settle(operation);
      case 'extend':
        return this.#extend(operation);
      case 'pause':
        return this.#pause(operation.consumer);
      case 'leave':
        return this.#leave(operation.consumer, 0);
      case 'lose':
        return this.#leave(operation.consumer, 1);
      case 'drop':
        return this.#drop(operation.channels);
      case 'inspect':
        return viewOf(this.#db, this.#sql, this.#topology.channels());
      case 'peek':
        return this.#peek(operation);
      case 'rewind':
        return this.#rewind(operation);
      case 'listDead':
        return listDead(this.#db, this.#sql, operation);
      case 'redrive':
        return redriveDead(this.#db, this.#sql, operation, this.#subscriptionOf);
      case 'redriveEdited':
        return redriveEditedDead(this.#sql, operation, this.#subscriptionOf);
      case 'discard':
        return discardDead(this.#db, operation, this.#subscriptionOf, this.#sql);
    }
  }

  readonly #subscriptionOf = (row: DeadRow): Subscription | undefined =>
    this.#topology.find(row.channel, row.subscription_name);

  /** What happens by itself: due messages enter their logs, ended leases come back, and everyone with room is served. */
  #advance(): TurnReply['handOuts'] {
    if (this.#nextScheduled !== undefined && this.#nextScheduled <= this.#turn.now) this.#enterDue();
    const handOuts: TurnReply['handOuts'][number][] = [];
    for (const channel of this.#topology.channels()) {
      for (const subscription of channel.subscriptions) {
        if (subscription.consumers.length === 0) continue;
        subscription.endLeases();
        this.#dismissGone(subscription);
        for (const handOut of subscription.fill()) handOuts.push(handOut);
      }
    }
    return handOuts;
  }

  /** Who consumes, as an undone turn has to find it again. */
  #takeNote(): void {
    this.#note = [];
    for (const { consumer, subscription } of this.#consumers.values())
      this.#note.push({
        consumer,
        channel: subscription.channel,
        name: subscription.name,
        paused: consumer.paused,
      });
  }

  /** Rolls back: the tables by SQLite, the memory from tables, leases and the note. */
  #undo(): void {
    // SQLite may have rolled back by itself already.
    if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
    this.#turn.ahead.unwish();
    for (const { consumer, token } of this.#turn.begun) consumer.leases.delete(token);
    const begun = new Set(this.#turn.begun.map(({ token }) => token));
    for (const lease of this.#turn.ended)
      if (!begun.has(lease.token)) lease.consumer.leases.set(lease.token, lease);
    this.#load();
  }

  #undone(turn: Turn, error: unknown): TurnReply {
    if (primaryCode(error) !== SQLITE_FULL) throw error;
    this.#undo();
    this.#part(turn);
    const refusal = {
      error: {
        code: 'DB_MSG_DISK_FULL' as const,
        message: 'no room on the disk: nothing of this turn was stored',
      },
    };
    return { results: turn.operations.map(() => refusal), handOuts: [], ...this.#wakeAfterPause() };
  }

  /** Whoever leaves is handed nothing more, also where it could not be stored: nobody would be there to receive it. */
  #part({ operations }: Turn): void {
    for (const operation of operations) {
      if (operation.op !== 'leave' && operation.op !== 'lose') continue;
      const consumer = this.#consumers.get(operation.consumer)?.consumer;
      if (!consumer) continue;
      consumer.paused = true;
      consumer.gone = operation.op === 'leave' ? 0 : 1;
    }
  }

  #dismissGone({ consumers }: Subscription): void {
    for (const { id, gone, leases } of consumers.slice())
      if (gone !== undefined && leases.size === 0) this.#leave(id, gone);
  }

  #wakeAfterPause(): Pick<TurnReply, 'nextDueAt' | 'nextLeaseEnd'> {
    const { nextDueAt, nextLeaseEnd } = this.#nextWake();
    const { now, monotonic } = this.#turn;
    return {
      nextDueAt: nextDueAt === undefined ? undefined : Math.max(nextDueAt, now + FULL_PAUSE_MS),
      nextLeaseEnd:
        nextLeaseEnd === undefined ? undefined : Math.max(nextLeaseEnd, monotonic + FULL_PAUSE_MS),
    };
  }

  #nextWake(): Pick<TurnReply, 'nextDueAt' | 'nextLeaseEnd'> {
    let due = this.#nextScheduled;
    let leaseEnd: number | undefined;
    for (const { subscriptions } of this.#topology.channels()) {
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
    const logs = rows.map((row) => this.#topology.logOf(row.channel, row.level));
    logs.forEach((log, index) => {
      if (log.routing !== 'fanout') this.#refuseUnroutable(log, rows[index] as PublishRow);
    });
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

  #refuseUnroutable(log: Log, { channel, body }: PublishRow): void {
    const route = routeOf(log.routing, body);
    if (this.#topology.cursorsOf(log).some((cursor) => takesNow(log.routing, cursor, route))) return;
    throw new MessagingError(
      'DB_MSG_UNROUTABLE',
      `channel "${channel}": no binding takes ${route}; nothing of this publish was stored`,
    );
  }

  #append(log: Log, expiresAt: number | null, key: string | null, body: string): void {
    log.head += 1;
    if (log.routing === 'fanout') {
      this.#sql.insertMessage.run(log.head, this.#turn.now, expiresAt, key, body);
      return;
    }
    const route = routeOf(log.routing, body);
    this.#sql.insertRouted.run(log.head, this.#turn.now, expiresAt, key, body, route);
    passOver(log, this.#topology.cursorsOf(log), route);
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
      const log = this.#topology.logByNumber(row.log);
      if (log) this.#append(log, row.expires_at, row.key, row.body);
    }
    this.#readNextScheduled();
  }

  #readNextScheduled(): void {
    const { due_at: dueAt } = this.#sql.nextScheduled.get() as { due_at: number | null };
    this.#nextScheduled = dueAt ?? undefined;
  }

  #subscribe(operation: Extract<Operation, { op: 'subscribe' }>): undefined {
    const subscription = this.#topology.subscription(operation.channel, operation.subscription);
    const consumer: Consumer = {
      id: operation.consumer,
      prefetch: operation.prefetch,
      leaseMs: operation.leaseMs,
      leases: new Map(),
      renewAt: 0,
      paused: false,
      gone: undefined,
    };
    subscription.consumers.push(consumer);
    this.#consumers.set(consumer.id, { consumer, subscription });
    return undefined;
  }

  #settle({ consumer, settlements }: Extract<Operation, { op: 'settle' }>): OperationValue['settle'] {
    const one = this.#consumers.get(consumer);
    return settlements.map((it) => one?.subscription.settle(one.consumer, it) ?? 'lost');
  }

  #extend({ consumer, tokens }: Extract<Operation, { op: 'extend' }>): OperationValue['extend'] {
    const one = this.#consumers.get(consumer);
    return tokens.map((it) => one?.subscription.extend(one.consumer, it) ?? 'lost');
  }

  #pause(id: number): undefined {
    const one = this.#consumers.get(id);
    if (one) one.consumer.paused = true;
  }

  #leave(id: number, abandoned: 0 | 1): undefined {
    const one = this.#consumers.get(id);
    if (!one) return;
    one.subscription.releaseAll(one.consumer, abandoned);
    one.subscription.consumers.splice(one.subscription.consumers.indexOf(one.consumer), 1);
    this.#consumers.delete(id);
  }

  #forgetConsumers(subscription: Subscription): void {
    for (const [id, one] of this.#consumers)
      if (one.subscription === subscription) this.#consumers.delete(id);
  }

  #drop(names: readonly string[]): undefined {
    for (const name of names) {
      const channel = this.#topology.channel(name);
      if (channel?.ephemeral) this.#topology.drop(channel);
    }
  }

  #peek({ channel, subscription, limit }: Extract<Operation, { op: 'peek' }>): OperationValue['peek'] {
    const found = this.#topology.subscription(channel, subscription);
    return peekWaiting(this.#sql, found, limit, this.#turn.now);
  }

  #rewind({ channel, subscription, from, dryRun }: Extract<Operation, { op: 'rewind' }>): undefined {
    const found = this.#topology.subscription(channel, subscription);
    if (this.#topology.channel(channel)?.keepMs === undefined)
      throw new MessagingError(
        'DB_MSG_UNSUPPORTED_CAPABILITY',
        `channel "${channel}" keeps nothing that was settled: give it requires.replay.keepMs`,
      );
    if (found.consumers.length > 0)
      throw new MessagingError(
        'DB_MSG_SUBSCRIPTION_BUSY',
        `subscription "${subscription}" of "${channel}" has ${found.consumers.length} consumers; stop them first`,
      );
    if (dryRun) refuseBadOffset(found, from);
    else rewind(this.#sql, found, from);
  }

  #writeCursors(): void {
    for (const { subscriptions } of this.#topology.channels()) {
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
    const { keepUnsubscribedMs } = this.#options;
    for (const { logs, subscriptions, keepMs } of this.#topology.channels()) {
      for (const log of logs) {
        if (subscriptions.length > 0) purgeSettled(this.#sql, log, subscriptions, { keepMs, now });
        else if (checkUnsubscribed)
          purgeUnsubscribed(this.#sql, log, now - Math.max(keepUnsubscribedMs, keepMs ?? 0));
      }
    }
  }

  /** What was handed out when the last process ended becomes due again, counted as abandoned. */
  #recover(): void {
    this.#db.exec('BEGIN IMMEDIATE');
    this.#topology.load();
    this.#topology.dropEphemeral();
    this.#sql.landDeferred.run();
    this.#load();
    for (const { subscriptions } of this.#topology.channels()) {
      for (const subscription of subscriptions)
        for (const cursor of subscription.cursors) this.#recoverFlying(subscription, cursor);
    }
    this.#writeCursors();
    this.#db.exec('COMMIT');
    this.#load();
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

  /** Reads the tables into memory; consumers and leases, which are only in memory, are those of the note. */
  #load(): void {
    this.#topology.load();
    this.#consumers.clear();
    for (const { consumer, channel, name, paused } of this.#note) {
      const subscription = this.#topology.find(channel, name);
      if (!subscription) continue;
      consumer.paused = paused;
      subscription.consumers.push(consumer);
      this.#rebind(consumer, subscription);
    }
    for (const { subscriptions } of this.#topology.channels())
      for (const subscription of subscriptions) subscription.load();
    this.#readNextScheduled();
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
}
