/**
 * The workers of fulfilment: they find deliveries that are due and run the saga on them.
 *
 *   doorbell (bus) --.
 *   sweep (ledger) ---+--> dispatch (a queue per campaign) --> saga --> ledger
 *   retry batches  --'
 *
 * The doorbell makes it quick, the sweep makes it certain: an id that is lost anywhere is still due in the ledger. A message tells of the
 * deliveries of one transaction; it is acknowledged when the saga has run for each, or after `doorbellWaitMs`, because by then the ledger alone carries it and a slow provider must not hold
 * the bus. Two workers, two processes or a doorbell rung twice cost one refused claim.
 *
 * Timers are on the injected clock. Nothing here is durable, and stopping at any point loses nothing.
 */
import { ack, type Bus, type CancelTimer, type Clock, pause, type Subscription } from '@doorbuster/messaging';
import type { CampaignDefinition } from '../campaign/definition.ts';
import { OperationalError } from '../errors.ts';
import type { DeliveryLedger } from '../ledger.ts';
import { deliveriesOf, deliveryRequested, type DeliveryRequested } from '../messages.ts';
import type { Randomness } from '../randomness.ts';
import type { BackoffPolicy } from './backoff.ts';
import type { Run } from './claimed-run.ts';
import { createDispatch, type Dispatch } from './dispatch.ts';
import type { FulfilmentLog, FulfilmentObserver } from './observer.ts';
import { createPace, type Pace } from './pace.ts';
import { createProviders, type MessengerSetting, type Providers, type SourceSetting } from './providers.ts';
import { createSaga, type Saga } from './saga.ts';

export interface FulfilmentLimits {
  /** Deliveries under way at the same time in this process. Default 64. */
  readonly concurrency?: number;
  /** Ids that may wait in memory; the sweep brings the rest later. Default 5,000. */
  readonly queueCapacity?: number;
  /** Claimed for this long, ms. Default: what the slowest providers can take, and 15 s. */
  readonly leaseMs?: number;
  /** The sweep looks at least this often, ms. Default 5,000. */
  readonly sweepMs?: number;
  /** Default: 1 s, doubled up to 60 s. */
  readonly backoff?: BackoffPolicy;
  /** Failed calls to one provider before the next messenger, or parking. Default 5. */
  readonly attemptsPerProvider?: number;
  /** A doorbell's message is acknowledged after this long at the latest, ms. Default 5,000. */
  readonly doorbellWaitMs?: number;
  /** Deliveries of a retry batch moved per transaction. Default 500. */
  readonly batchSlice?: number;
}

export interface FulfilmentParts {
  readonly ledger: { readonly deliveries: DeliveryLedger };
  /** Where doorbells come from. May be started before or after fulfilment. */
  readonly bus: Pick<Bus, 'subscribe'>;
  readonly vault: { transactionId(campaignId: string, unit: number, generation: number): string };
  readonly sources: readonly SourceSetting[];
  readonly messengers: readonly MessengerSetting[];
  readonly pageUrl: (campaignId: string) => string;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly log: FulfilmentLog;
  readonly observe?: FulfilmentObserver;
  /** While a crowd is at the door fulfilment takes a bounded share, see `pace.ts`. Default: there never is one. */
  readonly crowd?: { isHere(): boolean };
  readonly limits?: FulfilmentLimits;
}

export interface FulfilmentView {
  readonly waiting: number;
  readonly running: number;
  readonly providers: readonly {
    readonly name: string;
    readonly running: number;
    readonly waiting: number;
    readonly breaker: string;
  }[];
}

export interface Fulfilment {
  start(): void;
  /** Looks at the ledger now: after a retry batch was started, an import, a test's wish. */
  wake(): void;
  view(): FulfilmentView;
  /** Takes nothing new, waits up to `drainMs` for what runs, then aborts its calls. Closes the messengers. */
  stop(drainMs: number): Promise<void>;
}

const noCrowd = { isHere: () => false };
const LEASE_MARGIN_MS = 15_000;
/** Ids read at once. */
const SWEEP_PAGE = 1_000;
/** Messages of the bus that wait for their run at the same time. */
const DOORBELLS = 256;
/** How long a known definition decides about room; the saga itself reads it fresh with every claim. */
const KNOWN_CAMPAIGNS = 1_000;

export function createFulfilment(parts: FulfilmentParts): Fulfilment {
  return new Workers(parts);
}

class Workers implements Fulfilment {
  readonly #parts: FulfilmentParts;
  readonly #limits: FulfilmentLimits;
  readonly #providers: Providers;
  readonly #dispatch: Dispatch;
  readonly #pace: Pace;
  readonly #capacity: number;
  readonly #sweepMs: number;
  readonly #saga: Saga;
  readonly #observe: FulfilmentObserver;
  /** Campaigns whose first claim is under way. */
  readonly #unknownRunning = new Set<string>();
  readonly #definitions = new Map<string, CampaignDefinition>();
  #subscription: Subscription | null = null;
  #cancelTimer: CancelTimer = () => {};
  /** Monotonic time of the timer that is set. */
  #nextSweepAt = Number.POSITIVE_INFINITY;
  #sweeping: Promise<void> | null = null;
  #sweepAgain = false;
  /** Where the walk over what is due goes on. */
  #cursor: string | undefined;
  /** On the monotonic clock. */
  #nextWalkAt = Number.NEGATIVE_INFINITY;
  /** The walk is not at its end. */
  #walking = false;
  /** Deliveries were turned away since the walk began. */
  #missed = false;
  #stopping = false;

  constructor(parts: FulfilmentParts) {
    const { clock, limits = {} } = parts;
    this.#parts = parts;
    this.#limits = limits;
    this.#observe = parts.observe ?? (() => {});
    this.#providers = createProviders({
      sources: parts.sources,
      messengers: parts.messengers,
      clock,
      observe: this.#observe,
    });
    const leaseMs = limits.leaseMs ?? this.#providers.longestRunMs + LEASE_MARGIN_MS;
    if (leaseMs < this.#providers.longestRunMs) {
      // Safe (the fence and the transaction id hold), but a delivery with slow providers would be begun twice.
      parts.log.warn(
        { leaseMs, longestRunMs: this.#providers.longestRunMs },
        'the lease of deliveries is shorter than the slowest providers may take',
      );
    }
    this.#saga = createSaga({
      ...parts,
      deliveries: parts.ledger.deliveries,
      sources: this.#providers.sources,
      messengers: this.#providers.messengers,
      observe: this.#observe,
      onClaim: ({ campaignId, definition }) => this.#remember(campaignId, definition),
      limits: {
        leaseMs,
        backoff: limits.backoff ?? { firstMs: 1_000, maxMs: 60_000 },
        attemptsPerProvider: limits.attemptsPerProvider ?? 5,
      },
    });
    this.#pace = createPace({
      clock,
      crowd: parts.crowd ?? noCrowd,
      onTurn: () => this.#dispatch.look(),
    });
    this.#capacity = limits.queueCapacity ?? 5_000;
    this.#sweepMs = limits.sweepMs ?? 5_000;
    this.#dispatch = createDispatch({
      concurrency: limits.concurrency ?? 64,
      capacity: this.#capacity,
      mayStart: (campaignId) => this.#hasRoom(campaignId),
      take: () => this.#pace.take(),
      onHalfEmpty: () => {
        if (this.#walking || this.#missed) this.wake();
      },
      run: (campaignId, deliveryId) => this.#run(campaignId, deliveryId),
    });
  }

  start(): void {
    this.#subscription = this.#parts.bus.subscribe(deliveryRequested, {
      name: 'fulfilment',
      concurrency: DOORBELLS,
      handler: async ({ data }) => {
        await this.#ring(data);
        return ack();
      },
    });
    this.wake();
  }

  wake(): void {
    if (this.#stopping) return;
    if (this.#sweeping) {
      this.#sweepAgain = true;
      return;
    }
    this.#cancelTimer();
    this.#nextSweepAt = Number.POSITIVE_INFINITY;
    this.#sweeping = this.#sweep().finally(() => {
      this.#sweeping = null;
      if (!this.#sweepAgain) return;
      this.#sweepAgain = false;
      this.wake();
    });
  }

  view(): FulfilmentView {
    const gates = [...this.#providers.sources.values(), ...this.#providers.messengers.values()].map(
      ({ gate }) => gate,
    );
    return {
      ...this.#dispatch.view(),
      providers: gates.map((gate) => ({ name: gate.name, ...gate.view() })),
    };
  }

  async stop(drainMs: number): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#cancelTimer();
    this.#pace.stop();
    const { clock } = this.#parts;
    const abort = clock.setTimer(drainMs, () => this.#providers.abort());
    const drained = this.#dispatch.drain();
    await this.#subscription?.stop({ drainMs });
    await this.#sweeping;
    await drained;
    abort();
    await this.#providers.close();
  }

  async #ring(doorbell: DeliveryRequested): Promise<void> {
    const { campaignId } = doorbell;
    if (this.#dispatch.room(campaignId) === 0) {
      this.#missed = true;
      return;
    }
    const runs = this.#add(campaignId, deliveriesOf(doorbell));
    const over = new AbortController();
    await Promise.race([runs, pause(this.#parts.clock, this.#limits.doorbellWaitMs ?? 5_000, over.signal)]);
    over.abort();
  }

  #add(campaignId: string, deliveryIds: readonly string[]): Promise<void> {
    if (this.#dispatch.room(campaignId) < deliveryIds.length) this.#missed = true;
    return this.#dispatch.add(campaignId, deliveryIds);
  }

  /** Runs one delivery to its record. A ledger that fails leaves it to its lease, so nothing is thrown from here. */
  async #run(campaignId: string, deliveryId: string): Promise<void> {
    const startedAt = this.#parts.clock.monotonic();
    const leave = this.#enter(campaignId);
    try {
      this.#report(campaignId, await this.#saga.deliver(deliveryId), startedAt);
    } catch (error) {
      const closed = error instanceof OperationalError && error.code === 'LEDGER_CLOSED';
      if (!closed)
        this.#parts.log.error(
          { err: error, deliveryId },
          'a delivery could not be recorded; its lease will bring it back',
        );
    } finally {
      leave();
    }
  }

  #report(campaignId: string, run: Run, startedAt: number): void {
    if (run.outcome === 'lost') return this.#observe({ event: 'lost', campaignId });
    if (run.outcome !== 'settled') return;
    const { result, claimed } = run;
    const errorCode = 'errorCode' in result ? result.errorCode : null;
    this.#observe({
      event: 'settled',
      campaignId,
      result: result.result,
      errorCode,
      ms: this.#parts.clock.monotonic() - startedAt,
    });
    if (result.result === 'parked') {
      this.#parts.log.warn(
        { deliveryId: claimed.deliveryId, errorCode },
        'a delivery is parked and waits for a person',
      );
    }
    if ('waitMs' in result) this.#sweepAt(this.#parts.clock.now() + result.waitMs);
  }

  // --- sweep -----------------------------------------------------------------------------------------------------------------------

  /**
   * A walk over all that is due, as far as there is room for it; it goes on when half of the queue has run. Each delivery is read once a walk,
   * so those that wait for a slow provider hide no others, and a backlog costs what is taken of it. Between two walks only what has
   * become due since is read.
   */
  async #sweep(): Promise<void> {
    const { deliveries } = this.#parts.ledger;
    try {
      while (!this.#stopping && (await deliveries.runBatches(this.#limits.batchSlice ?? 500)) > 0);
      this.#beginWalk();
      while (!this.#stopping && this.#roomForSweep() > 0) {
        const page = await deliveries.due(Math.min(SWEEP_PAGE, this.#roomForSweep()), this.#cursor);
        this.#cursor = page.next;
        for (const [campaignId, deliveryIds] of byCampaign(page.deliveryIds))
          void this.#add(campaignId, deliveryIds);
        this.#walking = page.more;
        if (!page.more) return this.#sweepAt(page.nextDueAt ?? Number.POSITIVE_INFINITY);
      }
      this.#sweepAt(Number.POSITIVE_INFINITY);
    } catch (error) {
      if (!this.#stopping)
        this.#parts.log.warn({ err: error }, 'the sweep of due deliveries failed; it is repeated');
      this.#sweepAt(Number.POSITIVE_INFINITY);
    }
  }

  /**
   * From the begin again, unless a walk is under way: after something was turned away here, and every `sweepMs` for what a walk cannot see (a
   * claim that failed, a record that was committed late).
   */
  #beginWalk(): void {
    const now = this.#parts.clock.monotonic();
    if (this.#walking || !(this.#missed || now >= this.#nextWalkAt)) return;
    this.#cursor = undefined;
    this.#nextWalkAt = now + this.#sweepMs;
    this.#walking = true;
    this.#missed = false;
  }

  /** None while more than half of the queue is taken: reading goes by pages and not by single ids. */
  #roomForSweep(): number {
    const { waiting } = this.#dispatch.view();
    return waiting > this.#capacity / 2 ? 0 : this.#capacity - waiting;
  }

  /** Sets the timer for `dueAt` on the wall clock, if that is earlier than what is set; at the latest after `sweepMs`. */
  #sweepAt(dueAt: number): void {
    if (this.#stopping) return;
    const { clock } = this.#parts;
    const wait = Math.min(this.#sweepMs, Math.max(SHORTEST_SWEEP_MS, dueAt - clock.now()));
    const at = clock.monotonic() + wait;
    if (at >= this.#nextSweepAt) return;
    this.#cancelTimer();
    this.#nextSweepAt = at;
    this.#cancelTimer = clock.setTimer(wait, () => this.wake());
  }

  // --- room ------------------------------------------------------------------------------------------------------------------------

  /** A campaign seen for the first time gets one turn: its claim brings the definition. */
  #hasRoom(campaignId: string): boolean {
    const definition = this.#definitions.get(campaignId);
    return definition === undefined
      ? !this.#unknownRunning.has(campaignId)
      : this.#providers.hasRoom(definition);
  }

  #enter(campaignId: string): () => void {
    const definition = this.#definitions.get(campaignId);
    if (definition) return this.#providers.occupy(definition);
    this.#unknownRunning.add(campaignId);
    return () => void this.#unknownRunning.delete(campaignId);
  }

  #remember(campaignId: string, definition: CampaignDefinition): void {
    const isNew = !this.#definitions.delete(campaignId);
    this.#definitions.set(campaignId, definition);
    if (isNew) this.#dispatch.look();
    if (this.#definitions.size <= KNOWN_CAMPAIGNS) return;
    const [oldest] = this.#definitions.keys();
    this.#definitions.delete(oldest!);
  }
}

/** Walks that wait for a time follow each other no closer than this. */
const SHORTEST_SWEEP_MS = 50;

function byCampaign(deliveryIds: readonly string[]): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const deliveryId of deliveryIds) {
    const campaignId = campaignIdOf(deliveryId);
    const group = groups.get(campaignId);
    if (group) group.push(deliveryId);
    else groups.set(campaignId, [deliveryId]);
  }
  return groups;
}

/** `<campaignId>.<seq>.<unit>` */
function campaignIdOf(deliveryId: string): string {
  return deliveryId.replace(/\.\d+\.\d+$/, '');
}
