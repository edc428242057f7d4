/** What a reconciliation found, as plain JSON: counts of everything, samples of each kind, and what stands out per key. */
import type { TimeWindow } from './reconciliation-sources.ts';

/**
 * Of a recorded message:
 * - `settled`: by every subscription that is to settle it
 * - `inFlight`: too young to judge, or not due yet
 * - `waitingInEngine`: a subscription's backlog reaches back that far, so it may still be in it
 * - `deadLetter`: parked in the engine for at least one subscription; settled, parked or waiting for the others
 * - `unpublished`: older than the grace and still in the outbox; the relay is behind, stopped, or its key waits
 * - `parkedInOutbox`: refused by the engine for good
 * - `discarded`: a person decided that it is never sent
 * - `decided`: a person discarded it as a dead letter, or put a corrected message in its place, for at least one subscription; settled for the others
 * - `lost`: the engine confirmed it, and no subscription knows it
 * - `partlyLost`: at least one subscription knows nothing of it, and others do: they settled it, hold it as a dead letter, or a person decided about it there
 * - `expired`: its time to live was over, so the engine may have dropped it
 * - `unverifiable`: so old that an inbox may have forgotten it, or perhaps in a part of the engine that it does not show
 * - `unwatched`: no subscription given here takes its channel
 *
 * Of a settled message:
 * - `unrecorded`: settled, and no producer given here recorded it
 * - `unverifiable`: as `unrecorded`, but so old that an outbox may have purged it
 */
export const findingKinds = [
  'settled',
  'inFlight',
  'waitingInEngine',
  'deadLetter',
  'unpublished',
  'parkedInOutbox',
  'discarded',
  'decided',
  'lost',
  'partlyLost',
  'expired',
  'unverifiable',
  'unwatched',
  'unrecorded',
] as const;

export type FindingKind = (typeof findingKinds)[number];

/** How one subscription stands to a message. */
export type Standing =
  | 'settled'
  | 'deadLetter'
  | 'decided'
  | 'waiting'
  | 'inFlight'
  | 'unverifiable'
  | 'missing';

export interface Finding {
  readonly kind: FindingKind;
  readonly id: string;
  /** Undefined for one that no producer recorded. */
  readonly channel: string | undefined;
  readonly key: string | undefined;
  /** ms since the epoch: of recording, or of settling for `unrecorded`. */
  readonly at: number;
  /** The recorded source, or the subscription for `unrecorded`. */
  readonly source: string;
  readonly subscriptions: Readonly<Record<string, Standing>>;
  readonly reason: string | undefined;
}

export interface KeyFindings {
  readonly channel: string;
  readonly key: string;
  readonly findings: readonly Pick<Finding, 'kind' | 'id'>[];
}

export interface SubscriptionCounts {
  readonly subscription: string;
  readonly channel: string;
  readonly standings: Readonly<Record<Standing, number>>;
}

/** What a repair does not do by itself. */
export interface NeedsPerson {
  readonly id: string;
  readonly channel: string | undefined;
  readonly why: string;
  readonly remedy: string;
}

export interface RepairReport {
  /** In a dry run nothing was published. */
  readonly mode: 'dryRun' | 'republish';
  /** Messages that a repair publishes again with the same ids. */
  readonly republishable: number;
  readonly republished: number;
  /** Why publishing failed, with the id where it was about one message: the others of its page were published. What failed counts as not republished; what is refused for good needs a person, too. */
  readonly failures: readonly string[];
  readonly needsPersonCount: number;
  /** The first ones. */
  readonly needsPerson: readonly NeedsPerson[];
}

/** Where to go on; opaque. */
export interface ResumePoint {
  readonly phase: 'recorded' | 'settled';
  readonly source: number;
  readonly after: string | undefined;
}

export type ReconciliationVerdict = 'clean' | 'uncertain' | 'faulty';

export interface ReconciliationReport {
  /** When it began, ms since the epoch. */
  readonly at: number;
  readonly window: TimeWindow;
  /** False when it was stopped early: `resume` then says where to go on. */
  readonly complete: boolean;
  readonly resume: ResumePoint | undefined;
  /**
   * - `clean`: everything is settled, in flight, waiting, expired, discarded or decided
   * - `uncertain`: nothing was found that should not be, but some could not be judged (`unverifiable`, `unwatched`)
   * - `faulty`: something was found that should not be
   */
  readonly verdict: ReconciliationVerdict;
  /** `verdict` is `clean`. */
  readonly clean: boolean;
  readonly checked: { readonly recorded: number; readonly settled: number };
  readonly counts: Readonly<Record<FindingKind, number>>;
  /** The first of each kind but `settled` and `inFlight`. */
  readonly samples: readonly Finding[];
  /** Keys with findings, the first ones; messages without a key are in the samples only. */
  readonly keys: readonly KeyFindings[];
  readonly keysLeftOut: number;
  readonly subscriptions: readonly SubscriptionCounts[];
  /**
   * Subscriptions that the engine given here does not show (RabbitMQ shows what its own connection declared; or they are gone): what waits in their queues
   * counts as missing. Ask again through a bus that has them.
   */
  readonly blindSpots: readonly { readonly channel: string; readonly subscription: string }[];
  readonly repair: RepairReport;
}

const NO_STANDINGS: Readonly<Record<Standing, number>> = {
  settled: 0,
  deadLetter: 0,
  decided: 0,
  waiting: 0,
  inFlight: 0,
  unverifiable: 0,
  missing: 0,
};
const FAULTS: ReadonlySet<FindingKind> = new Set([
  'deadLetter',
  'unpublished',
  'parkedInOutbox',
  'lost',
  'partlyLost',
  'unrecorded',
]);
/** Nothing is known to be wrong with these, nor that anything is right. */
const UNJUDGED: ReadonlySet<FindingKind> = new Set(['unverifiable', 'unwatched']);
const QUIET: ReadonlySet<FindingKind> = new Set(['settled', 'inFlight', 'discarded', 'unwatched']);

export interface ReportLimits {
  readonly samples: number;
  readonly keys: number;
}

/** Gathers findings within bounds, whatever their number; goes on from an earlier report when there is one. */
export class ReportBuilder {
  readonly #limits: ReportLimits;
  readonly #counts: Record<FindingKind, number>;
  readonly #samples: Finding[];
  readonly #sampled = new Map<FindingKind, number>();
  readonly #keys = new Map<
    string,
    { channel: string; key: string; findings: Pick<Finding, 'kind' | 'id'>[] }
  >();
  #keysLeftOut: number;
  readonly #standings = new Map<
    string,
    { subscription: string; channel: string; standings: Record<Standing, number> }
  >();
  readonly #blindSpots = new Map<string, { readonly channel: string; readonly subscription: string }>();
  readonly #checked: { recorded: number; settled: number };
  readonly #needsPerson: NeedsPerson[];
  readonly #failures: string[];
  #needsPersonCount: number;
  #republishable: number;
  #republished: number;

  constructor(limits: ReportLimits, earlier: ReconciliationReport | undefined) {
    this.#limits = limits;
    const none = Object.fromEntries(findingKinds.map((kind) => [kind, 0])) as Record<FindingKind, number>;
    this.#counts = { ...none, ...earlier?.counts };
    this.#samples = [...(earlier?.samples ?? [])];
    for (const { kind } of this.#samples) this.#sampled.set(kind, (this.#sampled.get(kind) ?? 0) + 1);
    for (const { channel, key, findings } of earlier?.keys ?? [])
      this.#keys.set(keyOf(channel, key), { channel, key, findings: [...findings] });
    this.#keysLeftOut = earlier?.keysLeftOut ?? 0;
    for (const { subscription, channel, standings } of earlier?.subscriptions ?? [])
      this.#standings.set(keyOf(subscription, channel), {
        subscription,
        channel,
        // An older report has not all of them.
        standings: { ...NO_STANDINGS, ...standings },
      });
    for (const one of earlier?.blindSpots ?? []) this.addBlindSpot(one.channel, one.subscription);
    this.#checked = { ...(earlier?.checked ?? { recorded: 0, settled: 0 }) };
    this.#needsPerson = [...(earlier?.repair.needsPerson ?? [])];
    this.#failures = [...(earlier?.repair.failures ?? [])];
    this.#needsPersonCount = earlier?.repair.needsPersonCount ?? 0;
    this.#republishable = earlier?.repair.republishable ?? 0;
    this.#republished = earlier?.repair.republished ?? 0;
  }

  get checked(): { readonly recorded: number; readonly settled: number } {
    return { ...this.#checked };
  }

  add(side: 'recorded' | 'settled', finding: Finding): void {
    const { kind, channel } = finding;
    this.#checked[side] += 1;
    this.#counts[kind] += 1;
    if (channel !== undefined)
      for (const [subscription, standing] of Object.entries(finding.subscriptions))
        this.#stand(subscription, channel, standing);
    if (QUIET.has(kind)) return;
    const sampled = this.#sampled.get(kind) ?? 0;
    if (sampled < this.#limits.samples) {
      this.#samples.push(finding);
      this.#sampled.set(kind, sampled + 1);
    }
    this.#addKey(finding);
  }

  addSettledKnown(count: number): void {
    this.#checked.settled += count;
  }

  addBlindSpot(channel: string, subscription: string): void {
    this.#blindSpots.set(keyOf(channel, subscription), { channel, subscription });
  }

  addNeedsPerson(one: NeedsPerson): void {
    this.#needsPersonCount += 1;
    if (this.#needsPerson.length < this.#limits.samples) this.#needsPerson.push(one);
  }

  addRepair(republishable: number, republished: number, failure: string | undefined): void {
    this.#republishable += republishable;
    this.#republished += republished;
    if (failure !== undefined) this.addFailure(failure);
  }

  addFailure(failure: string): void {
    if (this.#failures.length < this.#limits.samples) this.#failures.push(failure);
  }

  build(
    at: number,
    window: TimeWindow,
    resume: ResumePoint | undefined,
    mode: RepairReport['mode'],
  ): ReconciliationReport {
    return {
      at,
      window,
      complete: resume === undefined,
      resume,
      verdict: this.#verdict(),
      clean: this.#verdict() === 'clean',
      checked: this.checked,
      counts: { ...this.#counts },
      samples: [...this.#samples],
      keys: [...this.#keys.values()],
      keysLeftOut: this.#keysLeftOut,
      subscriptions: [...this.#standings.values()],
      blindSpots: [...this.#blindSpots.values()],
      repair: {
        mode,
        republishable: this.#republishable,
        republished: this.#republished,
        failures: [...this.#failures],
        needsPersonCount: this.#needsPersonCount,
        needsPerson: [...this.#needsPerson],
      },
    };
  }

  #verdict(): ReconciliationVerdict {
    const has = (kinds: ReadonlySet<FindingKind>): boolean =>
      findingKinds.some((kind) => kinds.has(kind) && this.#counts[kind] > 0);
    if (has(FAULTS)) return 'faulty';
    return has(UNJUDGED) ? 'uncertain' : 'clean';
  }

  #stand(subscription: string, channel: string, standing: Standing): void {
    const name = keyOf(subscription, channel);
    let counts = this.#standings.get(name);
    if (!counts) {
      counts = { subscription, channel, standings: { ...NO_STANDINGS } };
      this.#standings.set(name, counts);
    }
    counts.standings[standing] += 1;
  }

  #addKey({ channel, key, kind, id }: Finding): void {
    if (channel === undefined || key === undefined) return;
    const name = keyOf(channel, key);
    let entry = this.#keys.get(name);
    if (!entry) {
      if (this.#keys.size >= this.#limits.keys) {
        this.#keysLeftOut += 1;
        return;
      }
      entry = { channel, key, findings: [] };
      this.#keys.set(name, entry);
    }
    if (entry.findings.length < this.#limits.samples) entry.findings.push({ kind, id });
  }
}

function keyOf(a: string, b: string): string {
  return JSON.stringify([a, b]);
}
