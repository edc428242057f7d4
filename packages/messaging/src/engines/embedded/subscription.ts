/**
 * One named subscription inside the writer: where it stands in each log, what it has handed out, and which keys wait.
 *
 * A message, seen by one subscription:
 *
 *   in its log --claim--> flying --ack--> gone
 *   in its log --claim, its key is busy or blocked--> waiting (deferred, no due time) --key free--> due
 *   flying --retry, release, lost lease--> deferred with a due time --due--> flying
 *   flying --dead letter--> dead_letters --redrive--> deferred, due now
 *
 * What is in memory here can be rebuilt from the tables and the leases (`load`), which is how a rolled back turn is undone.
 */
import type { FailureOrder } from '../../channel.ts';
import type { Letter, Settlement, SettleResult, SubscriptionView } from '../../engine.ts';
import type { RoutingKind } from '../../routing.ts';
import { takes } from './bindings.ts';
import type { Consumer, Cursor, Lease, MessageRow, Turnstile } from './state.ts';
import type { HandOut } from './turn.ts';

/** Rows looked at in one turn while searching for messages whose key is free: bounds the length of a turn. */
const SCAN_LIMIT = 1_000;
const ROUTED_RUN = 64;
/** Hand-outs. */
const RENEW_AFTER = 4_096;

/** An array, because it is read for each message; the route on channels with routing only. */
export type LogRow = readonly [
  position: number,
  expiresAt: number | null,
  key: string | null,
  body: string,
  route?: string | null,
];

export class Subscription {
  readonly id: number;
  readonly channel: string;
  readonly name: string;
  readonly consumers: Consumer[] = [];
  cursors: Cursor[] = [];
  ordered = false;
  onFailure: FailureOrder = 'skip';
  routing: RoutingKind = 'fanout';
  expired: number;
  expiredDirty = false;
  /** Earliest due time among the deferred. */
  nextDue: number | undefined;
  readonly #turn: Turnstile;
  /** Keys with a message handed out. */
  readonly #busy = new Set<string>();
  /** Deferred messages per key that keep their lane. */
  readonly #lanes = new Map<string, number>();
  /** Keys whose head is a dead letter that holds the rest. */
  readonly #parked = new Set<string>();

  constructor(
    turn: Turnstile,
    row: { subscription: number; channel: string; name: string; expired: number },
  ) {
    this.#turn = turn;
    this.id = row.subscription;
    this.channel = row.channel;
    this.name = row.name;
    this.expired = row.expired;
  }

  /** Rebuilds what is derived from tables and leases; the cursors' `next` is set by the store. */
  load(): void {
    const { sql } = this.#turn;
    this.#busy.clear();
    this.#lanes.clear();
    this.#parked.clear();
    for (const cursor of this.cursors) cursor.flying.clear();
    for (const { leases } of this.consumers) {
      for (const lease of leases.values()) {
        lease.cursor?.flying.add(lease.position);
        if (lease.key !== null) this.#busy.add(lease.key);
      }
    }
    for (const row of sql.lanes.all(this.id) as unknown as { key: string; count: number }[])
      this.#lanes.set(row.key, row.count);
    for (const row of sql.parkedKeys.all(this.id) as unknown as { key: string }[]) this.#parked.add(row.key);
    this.#readNextDue();
  }

  /** Hands out what is ready to whoever has room. */
  fill(): { consumer: number; items: HandOut[] }[] {
    const handOuts: { consumer: number; items: HandOut[] }[] = [];
    for (const consumer of this.consumers) {
      if (consumer.paused) continue;
      this.#renew(consumer);
      const items: HandOut[] = [];
      this.#fillConsumer(consumer, items);
      if (items.length > 0) handOuts.push({ consumer: consumer.id, items });
    }
    // The next turn begins with another one, or the first consumer would take everything.
    const first = this.consumers.shift();
    if (first) this.consumers.push(first);
    return handOuts;
  }

  /**
   * Maps and sets that are written to without end leave a chain of their former tables behind, and each collection of young objects keeps all that hangs on
   * it. New ones now and then end the chain.
   */
  #renew(consumer: Consumer): void {
    if (this.#turn.nextToken < consumer.renewAt) return;
    consumer.renewAt = this.#turn.nextToken + RENEW_AFTER;
    consumer.leases = new Map(consumer.leases);
    for (const cursor of this.cursors) cursor.flying = new Set(cursor.flying);
  }

  #fillConsumer(consumer: Consumer, items: HandOut[]): void {
    const room = roomOf(consumer);
    if (this.nextDue !== undefined && this.nextDue <= this.#turn.now && room > 0)
      this.#claimDue(consumer, room, items);
    for (const cursor of this.cursors) {
      if (roomOf(consumer) <= 0) return;
      this.#claimLog(consumer, cursor, items);
      // With routing most of it may be others'.
      if (this.routing === 'fanout' && cursor.next <= cursor.log.head) this.#turn.ahead.wish(cursor, items);
    }
  }

  #claimDue(consumer: Consumer, limit: number, items: HandOut[]): void {
    const { sql, now } = this.#turn;
    const rows = sql.dueDeferred.all(this.id, now, limit) as unknown as (MessageRow & {
      number: number;
      in_lane: number;
    })[];
    for (const row of rows) {
      if (row.expires_at !== null && row.expires_at <= now) this.#expireDeferred(row);
      else if (this.ordered && row.key !== null && this.#busy.has(row.key)) this.#waitAgain(row);
      else {
        sql.flyDeferred.run(row.number);
        const inLane = row.in_lane === 1;
        const token = this.#lend(consumer, undefined, row.origin, row.number, row.key, inLane);
        items.push({
          token,
          body: row.body,
          state: row.state,
          abandoned: row.abandoned,
          place: undefined,
        });
      }
    }
    this.#readNextDue();
  }

  #claimLog(consumer: Consumer, cursor: Cursor, items: HandOut[]): void {
    const { sql, ahead } = this.#turn;
    const routed = this.routing !== 'fanout';
    const read = routed ? sql.readRouted : sql.readMessages;
    let scanned = 0;
    while (cursor.next <= cursor.log.head && scanned < SCAN_LIMIT) {
      const room = roomOf(consumer);
      if (room <= 0) return;
      // With routing some of what is read may not be this subscription's; reading two at a time would be most of the work.
      const limit = routed ? Math.max(room, ROUTED_RUN) : room;
      let place = ahead.has(cursor) ? ahead.place : undefined;
      const rows =
        place === undefined
          ? (read.all(cursor.next, cursor.log.head, limit) as unknown as LogRow[])
          : ahead.take(room);
      const full = items.length + room;
      if (rows.length === 0) cursor.next = cursor.log.head + 1;
      cursor.dirty = true;
      scanned += rows.length;
      for (const row of rows) {
        if (items.length >= full) return;
        cursor.next = row[0] + 1;
        this.#claim(consumer, cursor, row, items, place);
        if (place !== undefined) place += 1;
      }
    }
  }

  #claim(consumer: Consumer, cursor: Cursor, row: LogRow, items: HandOut[], place: number | undefined): void {
    const [position, expiresAt, key, body, route = null] = row;
    if (this.routing !== 'fanout' && !takes(this.routing, cursor.bindings, position, route)) {
      cursor.unbound -= 1;
    } else if (expiresAt !== null && expiresAt <= this.#turn.now) this.#countExpired();
    else if (this.ordered && key !== null && this.#held(key)) this.#holdBack(position, key);
    else {
      const token = this.#lend(consumer, cursor, position, 0, this.ordered ? key : null, false);
      cursor.flying.add(position);
      items.push({ token, body, state: null, abandoned: 0, place });
    }
  }

  #held(key: string): boolean {
    return this.#busy.has(key) || this.#lanes.has(key) || this.#parked.has(key);
  }

  /** A message whose key is taken leaves the log, so that other keys behind it are not stopped. */
  #holdBack(position: number, key: string): void {
    const row = this.#turn.sql.readMessage.get(position) as unknown as MessageRow;
    if (this.onFailure === 'sequencedDlq' && this.#parked.has(key)) this.#parkFollower(row);
    else this.#defer(row, null, true, 0, null);
  }

  #lend(
    consumer: Consumer,
    cursor: Cursor | undefined,
    position: number,
    number: number,
    key: string | null,
    inLane: boolean,
  ): number {
    const token = this.#turn.nextToken++;
    const until = this.#turn.monotonic + consumer.leaseMs;
    const lease: Lease = { consumer, token, cursor, position, number, key, inLane, until };
    consumer.leases.set(token, lease);
    this.#turn.begun.push(lease);
    if (this.ordered && key !== null) this.#busy.add(key);
    return token;
  }

  #takeBack(lease: Lease): void {
    lease.consumer.leases.delete(lease.token);
    this.#turn.ended.push(lease);
    if (lease.key !== null) this.#busy.delete(lease.key);
    if (lease.cursor) {
      lease.cursor.flying.delete(lease.position);
      lease.cursor.dirty = true;
    }
  }

  settle(consumer: Consumer, settlement: Settlement): SettleResult {
    const lease = consumer.leases.get(settlement.token as number);
    if (!lease) return 'lost';
    this.#takeBack(lease);
    if (settlement.kind === 'ack') this.#settleAck(lease);
    else if (settlement.kind === 'retry') this.#settleRetry(lease, settlement.dueAt, settlement.state, 0);
    else if (settlement.kind === 'release') this.#giveBack(lease, 0);
    else this.#settleDead(lease, settlement.letter);
    return 'settled';
  }

  extend(consumer: Consumer, token: number): SettleResult {
    const lease = consumer.leases.get(token);
    if (!lease) return 'lost';
    lease.until = this.#turn.monotonic + consumer.leaseMs;
    consumer.leases.delete(token);
    consumer.leases.set(token, lease);
    return 'settled';
  }

  /** Takes back what was neither settled nor extended in time. */
  endLeases(): void {
    for (const consumer of this.consumers) {
      for (const lease of consumer.leases.values()) {
        if (lease.until > this.#turn.monotonic) break;
        this.#takeBack(lease);
        this.#giveBack(lease, consumer.gone ?? 1);
      }
    }
  }

  /** Gives everything back: uncounted when the consumer left, as abandoned (1) when it was lost. */
  releaseAll(consumer: Consumer, abandoned: 0 | 1): void {
    for (const lease of consumer.leases.values()) {
      this.#takeBack(lease);
      this.#giveBack(lease, abandoned);
    }
  }

  /** Monotonic time at which the first lease ends, if nobody extends it. */
  firstLeaseEnd(): number | undefined {
    let first: number | undefined;
    for (const { leases } of this.consumers) {
      for (const lease of leases.values()) {
        if (first === undefined || lease.until < first) first = lease.until;
        break;
      }
    }
    return first;
  }

  #settleAck(lease: Lease): void {
    if (!lease.cursor) this.#dropDeferred(lease.number, lease.key, lease.inLane);
    this.#advance(lease.key);
  }

  #settleRetry(lease: Lease, dueAt: number, state: string | null, abandoned: number): void {
    const keepsLane = this.ordered && lease.key !== null && this.onFailure !== 'skip';
    if (lease.cursor) {
      this.#defer(this.#read(lease), dueAt, keepsLane, abandoned, state);
    } else {
      this.#turn.sql.retryDeferred.run(dueAt, keepsLane ? 1 : 0, state, abandoned, lease.number);
      if (lease.key !== null) this.#countLane(lease.key, Number(keepsLane) - Number(lease.inLane));
    }
    this.noteDue(dueAt);
    if (!keepsLane) this.#advance(lease.key);
  }

  /** Ready again at once, in its old place. Keeps its lane under every policy: nothing failed yet. */
  #giveBack(lease: Lease, abandoned: 0 | 1): void {
    const inLane = this.ordered && lease.key !== null;
    if (lease.cursor) this.#defer(this.#read(lease), 0, inLane, abandoned, null);
    else {
      this.#turn.sql.retryDeferred.run(0, inLane ? 1 : 0, null, abandoned, lease.number);
      if (lease.key !== null) this.#countLane(lease.key, Number(inLane) - Number(lease.inLane));
    }
    this.noteDue(0);
  }

  #settleDead(lease: Lease, letter: Letter): void {
    const holds = this.ordered && lease.key !== null && this.onFailure !== 'skip';
    const row = this.#read(lease);
    this.#insertDead(row, holds, letter);
    if (!lease.cursor) this.#dropDeferred(lease.number, lease.key, lease.inLane);
    if (!holds || lease.key === null) return this.#advance(lease.key);
    this.#parked.add(lease.key);
    if (this.onFailure === 'sequencedDlq') this.#parkLane(lease.key);
  }

  #read(lease: Lease): MessageRow {
    const { sql } = this.#turn;
    const row = lease.cursor ? sql.readMessage.get(lease.position) : sql.readDeferred.get(lease.number);
    if (!row) throw new Error(`message ${lease.position} is leased but not stored`);
    return row as unknown as MessageRow;
  }

  #defer(
    row: MessageRow,
    dueAt: number | null,
    inLane: boolean,
    abandoned: number,
    state: string | null,
  ): void {
    this.#turn.sql.insertDeferred.run(
      this.id,
      row.origin,
      dueAt,
      inLane ? 1 : 0,
      row.stored_at,
      row.expires_at,
      row.key,
      state ?? row.state,
      row.abandoned + abandoned,
      row.body,
    );
    if (inLane && row.key !== null) this.#countLane(row.key, 1);
  }

  #dropDeferred(number: number, key: string | null, inLane: boolean): void {
    this.#turn.sql.deleteDeferred.run(number);
    if (inLane && key !== null) this.#countLane(key, -1);
  }

  #countLane(key: string, change: number): void {
    const count = (this.#lanes.get(key) ?? 0) + change;
    if (count > 0) this.#lanes.set(key, count);
    else this.#lanes.delete(key);
  }

  /** The key is free: the oldest one waiting for it falls due. */
  #advance(key: string | null): void {
    if (key === null || !this.#lanes.has(key) || this.#parked.has(key) || this.#busy.has(key)) return;
    this.#turn.sql.headOfLane.get(this.#turn.now, this.id, key);
    this.noteDue(this.#turn.now);
  }

  #waitAgain(row: { number: number; key: string | null; in_lane: number }): void {
    this.#turn.sql.waitDeferred.run(row.number);
    if (row.key !== null && row.in_lane === 0) this.#countLane(row.key, 1);
  }

  #expireDeferred(row: { number: number; key: string | null; in_lane: number }): void {
    this.#dropDeferred(row.number, row.key, row.in_lane === 1);
    this.#countExpired();
    this.#advance(row.key);
  }

  #countExpired(): void {
    this.expired += 1;
    this.expiredDirty = true;
  }

  noteDue(dueAt: number): void {
    if (this.nextDue === undefined || dueAt < this.nextDue) this.nextDue = dueAt;
  }

  #readNextDue(): void {
    const { due_at: dueAt } = this.#turn.sql.nextDeferred.get(this.id) as { due_at: number | null };
    this.nextDue = dueAt ?? undefined;
  }

  #insertDead(row: MessageRow, inLane: boolean, letter: Letter): void {
    this.#turn.sql.insertDead.run(
      this.#freeId(letter.id),
      this.id,
      this.channel,
      this.name,
      messageIdOf(row.body),
      row.origin,
      inLane ? 1 : 0,
      row.stored_at,
      row.expires_at,
      row.key,
      letter.reason,
      letter.group,
      letter.at,
      JSON.stringify(letter.history),
      letter.stateOnRedrive,
      row.body,
    );
  }

  /** Ids of dead letters come from outside; one that is taken must neither end the store nor lose the letter. */
  #freeId(wanted: string): string {
    let id = wanted;
    for (let n = 2; this.#turn.sql.deadNumber.get(id) !== undefined; n += 1) id = `${wanted}.${n}`;
    return id;
  }

  #parkFollower(row: MessageRow): void {
    // After a rewind the log brings again what is parked already.
    if (this.#turn.sql.isParked.get(this.id, row.key, row.origin)) return;
    this.#turn.sql.insertDead.run(
      this.#freeId(`${this.id}-${row.origin}`),
      this.id,
      this.channel,
      this.name,
      messageIdOf(row.body),
      row.origin,
      1,
      row.stored_at,
      row.expires_at,
      row.key,
      'parked behind the dead letter at the head of its key',
      'parked behind its key',
      this.#turn.now,
      '[]',
      row.state,
      row.body,
    );
  }

  #parkLane(key: string): void {
    const rows = this.#turn.sql.lane.all(this.id, key) as unknown as (MessageRow & { number: number })[];
    for (const row of rows) {
      this.#parkFollower(row);
      this.#dropDeferred(row.number, key, true);
    }
  }

  /** Puts dead letters back at the front; all of one key come together, oldest first, and only the first is due. */
  revive(rows: readonly DeadRow[]): void {
    rows.forEach((row, index) => {
      const inLane = row.in_lane === 1 && this.ordered;
      const dueAt = inLane && index > 0 ? null : 0;
      this.#turn.sql.deleteDead.run(row.number);
      this.#defer({ ...row, abandoned: 0 }, dueAt, inLane, 0, row.state);
      if (inLane && row.key !== null) this.#parked.delete(row.key);
    });
    this.noteDue(0);
  }

  /** Forgets one dead letter; what waited behind it goes on once nothing of its key is parked. */
  forget(row: DeadRow): void {
    const { sql } = this.#turn;
    sql.deleteDead.run(row.number);
    if (row.in_lane === 0 || row.key === null) return;
    const { count } = sql.parkedOfKey.get(this.id, row.key) as { count: number };
    if (count > 0) return;
    this.#parked.delete(row.key);
    this.#advance(row.key);
  }

  view(oldestInLogs: number | undefined): SubscriptionView {
    const { sql, now } = this.#turn;
    const counts = sql.countDeferred.get(now, now, this.id) as {
      ready: number;
      delayed: number;
      waiting: number;
      oldest: number | null;
    };
    const groups = sql.deadGroups.all(this.id) as unknown as { failure_group: string; count: number }[];
    const oldest = Math.min(
      oldestInLogs ?? Number.POSITIVE_INFINITY,
      counts.oldest ?? Number.POSITIVE_INFINITY,
    );
    let ready = counts.ready;
    for (const cursor of this.cursors) ready += cursor.log.head - cursor.next + 1 - cursor.unbound;
    let inFlight = 0;
    for (const { leases } of this.consumers) inFlight += leases.size;
    return {
      name: this.name,
      ready,
      delayed: counts.delayed,
      waitingForKey: counts.waiting,
      inFlight,
      oldestAgeMs: Number.isFinite(oldest) ? Math.max(0, now - oldest) : undefined,
      deadLetters: groups.map((row) => ({ group: row.failure_group, count: row.count })),
      expired: this.expired,
      consumers: this.consumers.length,
    };
  }
}

/** How many more it may hold. */
function roomOf({ prefetch, leases }: Consumer): number {
  return prefetch - leases.size;
}

export interface DeadRow {
  readonly number: number;
  readonly id: string;
  readonly subscription: number;
  readonly channel: string;
  readonly subscription_name: string;
  readonly message_id: string;
  readonly origin: number;
  readonly in_lane: number;
  readonly stored_at: number;
  readonly expires_at: number | null;
  readonly key: string | null;
  readonly reason: string;
  readonly failure_group: string;
  readonly parked_at: number;
  readonly history: string;
  readonly state: string | null;
  readonly body: string;
}

/** The id for people who look a message up; a payload that is no CloudEvent has none. */
function messageIdOf(body: string): string {
  try {
    const { id } = JSON.parse(body) as { id?: unknown };
    return typeof id === 'string' ? id : '';
  } catch {
    return '';
  }
}
