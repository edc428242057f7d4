/**
 * The relay for outboxes with keys, which any number of processes may run: one of them owns the outbox and publishes, the others ask for it at
 * every sweep and take over when its process or connection dies.
 *
 *   not owning --lock--> owning: some held lanes whose wait is over, then fresh rows, then purge        owning --connection lost--> not owning
 *
 * Some, not all: after a takeover there may be thousands of them, and rows that nothing holds do not wait for those.
 *
 * Order per key is never changed: while a row of a key waits, the key's later rows wait behind it, and other keys go on. What an engine refuses
 * for good is parked with the reason. The mark and what stands beside it are stored after the confirms, so a crash in between publishes
 * again what this step had published, with the same ids; so does an owner that lost its connection in the middle of a publish.
 */
import { describeError } from './errors.ts';
import type { Bus } from './bus.ts';
import type { Clock } from './clock.ts';
import { decodeCloudEvent } from './cloud-event.ts';
import { type Log, safeLog } from './log.ts';
import type { OutboxRow } from './outbox.ts';
import {
  type HeldRow,
  isLaneWithoutKey,
  type LaneName,
  laneOf,
  laneWithoutKey,
  type OutboxStore,
  type OwnedOutbox,
  type StoredRow,
} from './outbox-store.ts';
import { DEFAULT_DRAIN_MS, type Relay, RELAY_RULES, tellFailure, tellStuck } from './relay.ts';
import { type KeyOrder, type PoisonPolicy, type RowVerdict, type Sent, sendRows } from './relay-batch.ts';
import { DRAIN_MS, ENDLESS_MS, refuseBadNumbers } from './sound-numbers.ts';
import { UndeclaredChannels } from './undeclared-channels.ts';
import { withDefaults } from './with-defaults.ts';
import { backOffAfter, WorkLoop } from './work-loop.ts';

export interface KeyedRelayOptions {
  readonly outbox: OutboxStore;
  readonly bus: Pick<Bus, 'forward'>;
  readonly clock: Clock;
  readonly log?: Log;
  /** Rows per read, 1 to 10,000. Default 500. */
  readonly batchSize?: number;
  /** Looks by itself this often, ms; also how long a takeover may take. Default 1,000. */
  readonly sweepMs?: number;
  /** First wait after a failure, of the engine or of a key, ms; doubled up to 30 times it. Default 200. */
  readonly backOffMs?: number;
  /**
   * `strict` (default): at most one row of a key per publish. `batched`: all that was read at once, which is faster for few keys; where the engine may
   * store a part of a batch, a later row of a key can then pass an earlier one that was refused.
   */
  readonly keyOrder?: KeyOrder;
  /** What a row that is refused for good does to the later rows of its key: they wait for a person (`blockKey`, default) or go on without it (`skip`). */
  readonly onPoison?: PoisonPolicy;
  /**
   * How long rows wait for a channel that the bus of this relay does not know, ms, because a deployment may be rolling; then they are parked. Counted from when this relay, as the
   * owner of the outbox, first met the channel. Default 3,600,000 (an hour); 0: parked at once; Infinity: never, they are tried for ever.
   */
  readonly undeclaredMs?: number;
  /** Published rows stay so long, ms: what reconciliation can look back on. Default 0: they go at the next purge; Infinity: never. */
  readonly keepMs?: number;
}

export interface KeyedRelay extends Relay {
  view(): KeyedRelayView;
}

export interface KeyedRelayView {
  readonly owner: boolean;
  /** By this process. */
  readonly published: number;
  readonly failures: number;
  readonly lastError: string | undefined;
  /** Keys that wait or are blocked; rows without a key count as one for each channel. */
  readonly heldLanes: number;
  /** Channels that the bus does not know, whose rows wait or are parked. */
  readonly undeclared: readonly string[];
}

interface Lane {
  readonly of: LaneName;
  attempts: number;
  /** On the monotonic clock. */
  retryAt: number;
  /** A parked row stands at its head: nothing goes on before a person decided. */
  blocked: boolean;
  /** Rows without a key do not wait for each other: read up to this one, begun again behind the last. */
  after: number;
  /** Some of them were left waiting since it was begun. */
  leftSome: boolean;
}

function newLane(of: LaneName): Lane {
  return { of, attempts: 0, retryAt: 0, blocked: false, after: 0, leftSome: false };
}

function laneNameOf(row: OutboxRow): LaneName {
  const lane = laneOf(row);
  return { lane: isLaneWithoutKey(lane) ? undefined : lane, channel: row.channel };
}

/** Two signs, which `laneOf` gives to no row. */
function nameOf({ lane, channel }: LaneName): string {
  return lane ?? `##${channel}`;
}

/** Throws DB_MSG_INVALID_OPTIONS for a number that is none or out of its bounds. */
export function createKeyedRelay(options: KeyedRelayOptions): KeyedRelay {
  return new SingleOwnerRelay(options);
}

const PURGE_EVERY_MS = 5_000;
/** Held lanes that are tried between two looks at fresh rows. */
const LANES_IN_A_ROW = 20;
const RULES = { ...RELAY_RULES, keepMs: ENDLESS_MS, undeclaredMs: ENDLESS_MS } as const;

class SingleOwnerRelay implements KeyedRelay {
  readonly #options: Required<KeyedRelayOptions>;
  readonly #loop: WorkLoop;
  readonly #lanes = new Map<string, Lane>();
  readonly #undeclared: UndeclaredChannels;
  #owned: OwnedOutbox | undefined;
  #stopped: Promise<void> | undefined;
  #published = 0;
  #lanesReadAt = Number.NEGATIVE_INFINITY;
  #purgedAt = Number.NEGATIVE_INFINITY;

  constructor(options: KeyedRelayOptions) {
    this.#options = withDefaults(
      { ...options, log: safeLog(options.log) },
      {
        batchSize: 500,
        sweepMs: 1_000,
        backOffMs: 200,
        keyOrder: 'strict',
        onPoison: 'blockKey',
        keepMs: 0,
        undeclaredMs: 3_600_000,
      },
    );
    refuseBadNumbers('a relay', this.#options, RULES);
    this.#undeclared = new UndeclaredChannels(this.#options);
    this.#loop = new WorkLoop({
      ...this.#options,
      step: () => this.#step(),
      onFailure: (error) => tellFailure(this.#options.log, error),
    });
  }

  start(): void {
    this.#loop.start();
  }

  wake(): void {
    this.#loop.wake();
  }

  async stop({ drainMs = DEFAULT_DRAIN_MS }: { readonly drainMs?: number } = {}): Promise<void> {
    refuseBadNumbers('the stop of a relay', { drainMs }, { drainMs: DRAIN_MS });
    if (this.#loop.state === 'new') return;
    this.#stopped ??= this.#end(drainMs);
    await this.#stopped;
  }

  /** The outbox stays owned as long as a publish is under way: another relay would publish beside it. */
  async #end(drainMs: number): Promise<void> {
    if (await this.#loop.drain(drainMs)) return this.#letGo();
    tellStuck(this.#options.log);
    void this.#loop.idle().then(() => this.#letGo());
  }

  view(): KeyedRelayView {
    return {
      owner: this.#owned !== undefined && !this.#owned.lost,
      published: this.#published,
      failures: this.#loop.failures,
      lastError: this.#loop.lastError,
      heldLanes: this.#lanes.size,
      undeclared: this.#undeclared.names,
    };
  }

  async #step(): Promise<boolean> {
    const owned = await this.#ownership();
    if (!owned) return false;
    try {
      await this.#readLanes(owned);
      const more = await this.#relayWaiting(owned);
      return (await this.#relayFresh(owned)) || (await this.#purge(owned)) || more;
    } catch (error) {
      if (owned.lost) await this.#letGo();
      throw error;
    }
  }

  async #ownership(): Promise<OwnedOutbox | undefined> {
    if (this.#owned?.lost) await this.#letGo();
    if (this.#owned) return this.#owned;
    this.#owned = await this.#options.outbox.own();
    this.#lanes.clear();
    this.#undeclared.clear();
    this.#lanesReadAt = Number.NEGATIVE_INFINITY;
    if (this.#owned) this.#options.log.info({}, 'this relay owns the outbox');
    return this.#owned;
  }

  async #letGo(): Promise<void> {
    const owned = this.#owned;
    this.#owned = undefined;
    await owned?.release().catch((error: unknown) => {
      this.#options.log.warn(
        { error: describeError(error) },
        'the outbox could not be released; its lock ends with the connection',
      );
    });
  }

  /** What waits, from the store: at the start, and once per sweep because a person may have decided about a parked row. */
  async #readLanes(owned: OwnedOutbox): Promise<void> {
    const now = this.#options.clock.monotonic();
    if (now - this.#lanesReadAt < this.#options.sweepMs) return;
    const held = await owned.heldLanes();
    this.#lanesReadAt = now;
    const seen = new Set<string>();
    for (const { lane, channel, waiting, parked } of held) {
      const blocked = parked > 0 && lane !== undefined && this.#options.onPoison === 'blockKey';
      if (waiting === 0 && !blocked) continue;
      seen.add(this.#laneFor({ lane, channel }, blocked));
    }
    for (const name of this.#lanes.keys()) if (!seen.has(name)) this.#lanes.delete(name);
    this.#undeclared.keepOnly(new Set(held.map(({ channel }) => channel)));
  }

  #laneFor(of: LaneName, blocked: boolean): string {
    const name = nameOf(of);
    const lane = this.#lanes.get(name) ?? newLane(of);
    lane.blocked = blocked;
    this.#lanes.set(name, lane);
    return name;
  }

  /** True when lanes are left that could be tried at once. Ends at the first full batch: fresh rows have their turn. */
  async #relayWaiting(owned: OwnedOutbox): Promise<boolean> {
    let tried = 0;
    for (const [name, lane] of this.#lanes) {
      if (!this.#isDue(lane)) continue;
      if (tried === LANES_IN_A_ROW) return true;
      tried += 1;
      if (!(await this.#relayLane(owned, lane))) continue;
      // Behind the others, which have their turn first.
      this.#lanes.delete(name);
      this.#lanes.set(name, lane);
      return true;
    }
    return false;
  }

  #isDue({ of, blocked, retryAt }: Lane): boolean {
    return !blocked && retryAt <= this.#options.clock.monotonic() && !this.#undeclared.waits(of.channel);
  }

  /** True when there may be more of it. */
  async #relayLane(owned: OwnedOutbox, lane: Lane): Promise<boolean> {
    const { of, after } = lane;
    const limit = this.#options.batchSize;
    const isKeyed = of.lane !== undefined;
    if (after === 0) lane.leftSome = false;
    const stored = await owned.readWaiting(of, { limit, after });
    const { rows, broken } = decodeRows(stored);
    const sent = await this.#send(owned, isKeyed ? this.#before(broken, rows) : rows);
    await this.#recordWaiting(owned, of, sent, broken);
    if (sent.stoppedBy !== undefined) throw sent.stoppedBy;
    if (stored.some(({ number }) => sent.verdicts.get(number)?.kind !== 'published')) lane.leftSome = true;
    const isFull = stored.length === limit;
    if (isFull && !isKeyed) lane.after = stored.at(-1)?.number ?? 0;
    if (isFull && !(isKeyed && lane.leftSome)) return true;
    if (lane.leftSome) this.#postpone(lane);
    else this.#lanes.delete(nameOf(of));
    return false;
  }

  /** A row that cannot be read stands in the way of its key as one that is refused does. */
  #before(broken: readonly HeldRow[], rows: readonly OutboxRow[]): readonly OutboxRow[] {
    if (this.#options.onPoison === 'skip') return rows;
    const end = broken.reduce((least, { number }) => Math.min(least, number), Number.POSITIVE_INFINITY);
    return rows.filter(({ number }) => number < end);
  }

  async #recordWaiting(
    owned: OwnedOutbox,
    of: LaneName,
    sent: Sent,
    broken: readonly HeldRow[],
  ): Promise<void> {
    const published: number[] = [];
    const laneOfRow = (number: number): string => of.lane ?? laneWithoutKey(number);
    const parked: HeldRow[] = broken.map((row) => ({ ...row, lane: laneOfRow(row.number) }));
    for (const [number, { kind, reason }] of sent.verdicts) {
      if (kind === 'published') published.push(number);
      if (kind === 'parked') parked.push({ number, lane: laneOfRow(number), reason });
    }
    if (published.length === 0 && parked.length === 0) return;
    await owned.record({ upTo: undefined, waiting: [], parked, published, now: this.#options.clock.now() });
    this.#published += published.length;
    if (parked.length > 0 && of.lane !== undefined && this.#options.onPoison === 'blockKey')
      this.#laneFor(of, true);
    this.#tellParked(parked);
  }

  async #relayFresh(owned: OwnedOutbox): Promise<boolean> {
    const { batchSize } = this.#options;
    const stored = await owned.readFresh(batchSize);
    if (stored.length === 0) return false;
    const { rows, broken } = decodeRows(stored);
    const free = rows.filter((row) => !this.#lanes.has(laneOf(row)) && !this.#undeclared.waits(row.channel));
    const sent = await this.#send(owned, free);
    await this.#recordFresh(owned, rows, broken, sent);
    if (sent.stoppedBy !== undefined) throw sent.stoppedBy;
    return stored.length === batchSize;
  }

  /**
   * The mark passes the last row that was published or parked. What it passes without a verdict (the engine failed between two publishes)
   * waits beside it, so that nothing that was confirmed is published again.
   */
  async #recordFresh(
    owned: OwnedOutbox,
    rows: readonly OutboxRow[],
    broken: readonly HeldRow[],
    sent: Sent,
  ): Promise<void> {
    const end = this.#endOf(rows, broken, sent);
    if (end === undefined) return;
    const waiting: HeldRow[] = [];
    const parked: HeldRow[] = broken.filter(({ number }) => number <= end);
    let published = 0;
    for (const row of rows) {
      if (row.number > end) break;
      const lane = laneOf(row);
      const verdict = sent.verdicts.get(row.number) ?? this.#unsent(sent);
      if (verdict.kind === 'published') published += 1;
      else
        (verdict.kind === 'parked' ? parked : waiting).push({
          number: row.number,
          lane,
          reason: verdict.reason,
        });
    }
    await owned.record({ upTo: end, waiting, parked, published: [], now: this.#options.clock.now() });
    this.#published += published;
    this.#holdBack(rows, new Set(waiting.map(({ number }) => number)));
    this.#block(rows, parked);
    this.#tellParked(parked);
  }

  #holdBack(rows: readonly OutboxRow[], waiting: ReadonlySet<number>): void {
    for (const row of rows) {
      if (!waiting.has(row.number)) continue;
      const of = laneNameOf(row);
      const known = this.#lanes.get(nameOf(of));
      if (known) known.leftSome = true;
      else this.#postpone(newLane(of));
    }
  }

  #endOf(rows: readonly OutboxRow[], broken: readonly HeldRow[], sent: Sent): number | undefined {
    if (sent.stoppedBy !== undefined) return largest(sent.verdicts.keys());
    return largest([...rows, ...broken].map(({ number }) => number));
  }

  #unsent({ stoppedBy }: Sent): RowVerdict {
    const reason = stoppedBy === undefined ? 'behind an earlier row of its key' : describeError(stoppedBy);
    return { kind: 'waiting', reason };
  }

  #block(rows: readonly OutboxRow[], parked: readonly HeldRow[]): void {
    if (this.#options.onPoison === 'skip') return;
    const numbers = new Set(parked.map(({ number }) => number));
    for (const row of rows) {
      if (!numbers.has(row.number)) continue;
      const of = laneNameOf(row);
      if (of.lane !== undefined) this.#laneFor(of, true);
    }
  }

  #postpone(lane: Lane): void {
    const { clock, backOffMs } = this.#options;
    lane.retryAt = clock.monotonic() + backOffAfter(lane.attempts, backOffMs);
    lane.attempts += 1;
    lane.after = 0;
    this.#lanes.set(nameOf(lane.of), lane);
  }

  #send(owned: OwnedOutbox, rows: readonly OutboxRow[]): Promise<Sent> {
    const { bus, keyOrder, onPoison } = this.#options;
    return sendRows(rows, {
      forward: async (messages) => {
        const confirmations = await bus.forward(messages);
        for (const { channel } of messages) this.#undeclared.published(channel);
        return confirmations;
      },
      keyOrder,
      onPoison,
      isDoubtful: (channel) => this.#undeclared.has(channel),
      parksUndeclared: ({ channel }) => this.#undeclared.refused(channel),
      mayGoOn: () => !owned.lost,
    });
  }

  async #purge(owned: OwnedOutbox): Promise<boolean> {
    const { clock, keepMs } = this.#options;
    const at = clock.monotonic();
    if (at - this.#purgedAt < PURGE_EVERY_MS) return false;
    const now = clock.now();
    const more = await owned.purge(now - keepMs, now);
    if (!more) this.#purgedAt = at;
    return more;
  }

  #tellParked(parked: readonly HeldRow[]): void {
    for (const { number, reason } of parked)
      this.#options.log.error({ row: number, reason }, 'an outbox row was refused for good and is parked');
  }
}

/** A loop: as arguments of one call they would have to fit the stack. */
function largest(numbers: Iterable<number>): number | undefined {
  let found: number | undefined;
  for (const number of numbers) if (found === undefined || number > found) found = number;
  return found;
}

function decodeRows(stored: readonly StoredRow[]): {
  rows: readonly OutboxRow[];
  broken: readonly HeldRow[];
} {
  const rows: OutboxRow[] = [];
  const broken: HeldRow[] = [];
  for (const { number, channel, dueAt, priority, body } of stored) {
    try {
      const message = decodeCloudEvent(body);
      rows.push({
        number,
        channel,
        message,
        ...(dueAt === undefined ? {} : { dueAt }),
        ...(priority === undefined ? {} : { priority }),
      });
    } catch (error) {
      broken.push({ number, lane: laneWithoutKey(number), reason: describeError(error) });
    }
  }
  return { rows, broken };
}
