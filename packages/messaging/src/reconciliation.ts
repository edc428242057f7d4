/**
 * Reconciliation: what producers recorded against what consumers have settled, message by message and in both directions, with the repair of what is missing.
 *
 * Brokers confirm and lose all the same: a queue is deleted by mistake, a disk is wiped, a retention is too short. No broker can tell, because what it
 * lost it has forgotten. The two ends have not: the outbox keeps what was sent, each inbox keeps what took effect.
 *
 *   phase 1, per recorded source:  page of recorded -> look up in each inbox -> missing? dead letters -> backlog -> finding [-> publish again]
 *   phase 2, per settled source:   page of settled  -> look up in every outbox -> finding
 *
 * It reads, and a repair publishes again with the same ids, which an inbox makes harmless. It never deletes, never marks, and never guesses:
 * where the records do not reach back far enough, or the engine does not show all it holds, it says `unverifiable`.
 */
import type { Bus } from './bus.ts';
import type { Clock } from './clock.ts';
import type { DecisionLog } from './dead-letter-decisions.ts';
import type { OutgoingMessage } from './engine.ts';
import { describeError, MessagingError } from './errors.ts';
import type { Message } from './message.ts';
import { type Decisions, decisionsAbout } from './reconciliation-decisions.ts';
import { deadLettersOf, EngineBacklog } from './reconciliation-engine.ts';
import {
  type At,
  type Doubt,
  judge,
  type Judged,
  type Evidence,
  type Objection,
} from './reconciliation-judgement.ts';
import { type ReconciliationReport, ReportBuilder, type ResumePoint } from './reconciliation-report.ts';
import type {
  EngineSight,
  Page,
  PageRequest,
  RecordedMessage,
  RecordedSource,
  SettledMessage,
  SettledSource,
  TimeWindow,
} from './reconciliation-sources.ts';
import { sendRows } from './relay-batch.ts';
import { COUNT, LIMIT, refuseBadNumbers, TIME, WAIT_MS } from './sound-numbers.ts';
import { withDefaults } from './with-defaults.ts';

export interface ReconcileOptions {
  /** The outboxes of the producers. */
  readonly recorded: readonly RecordedSource[];
  /** The inboxes of the subscriptions. */
  readonly settled: readonly SettledSource[];
  readonly clock: Pick<Clock, 'now'>;
  /** `from` is in, `to` is not, ms since the epoch, and `from` is before `to`. Default: everything there is until now. */
  readonly window?: Partial<TimeWindow>;
  /** What is younger than this since its publishing is not judged, ms. Default 60,000. Longer than a message takes with all its retries. */
  readonly graceMs?: number;
  /** The engine, for dead letters and backlogs. Without it what waits in a queue or is parked there counts as missing. */
  readonly engine?: EngineSight;
  /**
   * You vouch that the consumers stand still: none has a message at a handler, and none waits for a retry. Only for engines that do not see it (RabbitMQ): without it
   * what is settled nowhere is `unverifiable` there, with it `lost`, and a repair publishes it again. Default false.
   */
  readonly assumeIdle?: boolean;
  /**
   * What people decided about dead letters, as the buses and tools note it that are given the same logs (`BusOptions.decisions`). A message that was discarded, edited or skipped
   * looks as if it were lost. Without a log, and for what was published before a log began, a repair leaves what is missing to a person.
   */
  readonly decisions?: readonly DecisionLog[];
  /** You vouch that nobody discarded or edited a dead letter, or rewound past messages, but what `decisions` has noted. Default false. */
  readonly assumeUndecided?: boolean;
  /** Publishes again what is missing. Default: a dry run that counts it. */
  readonly repair?: RepairOptions;
  /** Messages per page. Default 500. */
  readonly pageSize?: number;
  /** Stops after about so many messages with a report that can be gone on from. Default: none. */
  readonly maxMessages?: number;
  /** Goes on where this report stopped, with its counts. */
  readonly earlier?: ReconciliationReport;
  readonly signal?: AbortSignal;
  readonly onProgress?: (soFar: {
    readonly phase: ResumePoint['phase'];
    readonly recorded: number;
    readonly settled: number;
  }) => void;
  /** Samples per kind of finding. Default 20. */
  readonly samples?: number;
  /** Keys listed. Default 200. */
  readonly keys?: number;
}

export interface RepairOptions {
  /** A started bus on which the channels are declared. */
  readonly bus: Pick<Bus, 'forward'>;
  /** Channels whose order matters: what is missing there comes after what is already settled, so it is left to a person. */
  readonly inOrder?: readonly string[];
  /** Publishes also where the engine knows subscriptions that keep no inbox here: those handle it again. Default false. */
  readonly withoutInbox?: boolean;
}

const DEFAULT_GRACE_MS = 60_000;
const RULES = {
  pageSize: COUNT,
  graceMs: WAIT_MS,
  maxMessages: LIMIT,
  samples: LIMIT,
  keys: LIMIT,
} as const;

/** What a person may do about a message that is perhaps lost. */
const CERTAINTY: Readonly<Record<Doubt, string>> = {
  blind: 'ask through a bus on which this subscription is declared',
  partial: 'let the consumers finish, stop them, and ask again with assumeIdle',
  skipped: 'rewind the subscription to before it when it was not meant to be skipped',
};

/** Why a repair leaves alone what one subscription misses: it would reach another of the channel, too. */
const OBJECTIONS: Readonly<Record<Objection, (subscription: string) => string>> = {
  decided: (subscription) => `a person decided about it at "${subscription}"`,
  deadLetter: (subscription) => `it is a dead letter of "${subscription}"`,
  skipped: (subscription) => `"${subscription}" was rewound to a later point, perhaps past it`,
  forgotten: (subscription) => `the inbox of "${subscription}" may have forgotten that it settled it`,
  joinedLater: (subscription) =>
    `"${subscription}" joined later (since), and would get it for the first time`,
};

const UNDECIDED =
  'when nobody discarded or edited it as a dead letter, or rewound past it, ask again with assumeUndecided';
const NO_LOG = `${UNDECIDED}; give decisions, and the next time it is known`;
const BEFORE_THE_LOG = `${UNDECIDED}; it was recorded before the log of decisions began, which knows what came after`;

/** A repair broke after it had published something again; `cause` is what a source, the engine or the log of decisions rejected with. */
export class ReconciliationBroken extends MessagingError {
  override readonly name = 'ReconciliationBroken';
  /** What was found and done until then. Given as `earlier`, it is gone on from at the page that broke. */
  readonly report: ReconciliationReport;

  constructor(report: ReconciliationReport, cause: unknown) {
    super(
      'DB_MSG_RECONCILIATION_BROKEN',
      `the reconciliation broke when ${report.repair.republished} messages had been published again: ${describeError(cause)}`,
      { cause },
    );
    this.report = report;
  }
}

/**
 * Rejects with what a source, the engine or the log of decisions rejects with, and with a `ReconciliationBroken`, which has the report so far, once something may have been published again.
 * What a repair cannot publish is told in the report. Every source is asked once before the first repair.
 */
export async function reconcile(options: ReconcileOptions): Promise<ReconciliationReport> {
  return new Reconciliation(options).run();
}

class Reconciliation {
  readonly #options: ReconcileOptions;
  readonly #pageSize: number;
  readonly #graceMs: number;
  readonly #at: number;
  readonly #window: TimeWindow;
  readonly #report: ReportBuilder;
  readonly #backlog: EngineBacklog;
  #looked = 0;
  /** What is through is not looked at again from there on; undefined when all is. */
  #reached: ResumePoint | undefined;
  #mayHavePublished = false;

  constructor(options: ReconcileOptions) {
    const { clock, earlier, samples = 20, keys = 200 } = options;
    const { pageSize = 500, graceMs = DEFAULT_GRACE_MS, maxMessages = Number.POSITIVE_INFINITY } = options;
    refuseBadNumbers('a reconciliation', { pageSize, graceMs, maxMessages, samples, keys }, RULES);
    this.#options = options;
    this.#pageSize = pageSize;
    this.#graceMs = graceMs;
    this.#at = earlier?.at ?? clock.now();
    this.#reached = earlier ? earlier.resume : { phase: 'recorded', source: 0, after: undefined };
    this.#window =
      earlier?.window ??
      withDefaults<Partial<TimeWindow>>(options.window ?? {}, { from: 0, to: this.#at + 1 });
    refuseBadWindow(this.#window);
    this.#report = new ReportBuilder({ samples, keys }, earlier);
    this.#backlog = new EngineBacklog(options.engine, options.assumeIdle ?? false);
  }

  async run(): Promise<ReconciliationReport> {
    if (this.#options.repair && this.#reached) await this.#openAll();
    try {
      if (this.#reached) await this.#phases(this.#reached);
    } catch (error) {
      throw this.#mayHavePublished ? new ReconciliationBroken(this.#build(), error) : error;
    }
    return this.#build();
  }

  /** A wrong address among them would else be found after the others were repaired. */
  async #openAll(): Promise<void> {
    const { recorded, settled, decisions = [] } = this.#options;
    for (const source of [...recorded, ...settled]) await source.keptSince();
    for (const log of decisions) await log.since();
  }

  #build(): ReconciliationReport {
    const mode = this.#options.repair ? 'republish' : 'dryRun';
    return this.#report.build(this.#at, this.#window, this.#reached, mode);
  }

  async #phases(start: ResumePoint): Promise<void> {
    const { recorded, settled } = this.#options;
    if (start.phase === 'recorded') {
      const isThrough = await this.#walk<RecordedMessage, RecordedSource>(recorded, start, (source, items) =>
        this.#checkRecorded(source, items),
      );
      if (!isThrough) return;
    }
    const from: ResumePoint =
      start.phase === 'settled' ? start : { phase: 'settled', source: 0, after: undefined };
    const isThrough = await this.#walk<SettledMessage, SettledSource>(settled, from, (source, items) =>
      this.#checkSettled(source, items),
    );
    if (isThrough) this.#reached = undefined;
  }

  /** Every page of every source from there on; false when it was stopped. */
  async #walk<T, S extends { page(window: TimeWindow, page: PageRequest): Promise<Page<T>> }>(
    sources: readonly S[],
    { phase, source: first, after: begin }: ResumePoint,
    check: (source: S, items: readonly T[]) => Promise<void>,
  ): Promise<boolean> {
    for (let index = first; index < sources.length; index += 1) {
      const source = sources[index] as S;
      let after = index === first ? begin : undefined;
      do {
        this.#reached = { phase, source: index, after };
        if (this.#mustStop()) return false;
        const page = await source.page(this.#window, { after, limit: this.#pageSize });
        await check(source, page.items);
        this.#looked += page.items.length;
        after = page.next;
        this.#reached = { phase, source: after === undefined ? index + 1 : index, after };
        this.#options.onProgress?.({ phase, ...this.#report.checked });
      } while (after !== undefined);
    }
    return true;
  }

  #mustStop(): boolean {
    const { signal, maxMessages = Number.POSITIVE_INFINITY } = this.#options;
    return signal?.aborted === true || this.#looked >= maxMessages;
  }

  async #checkRecorded(source: RecordedSource, items: readonly RecordedMessage[]): Promise<void> {
    const missing: RecordedMessage[] = [];
    for (const [message, judged] of await this.#judge(items)) {
      this.#report.add('recorded', {
        kind: judged.kind,
        id: message.id,
        channel: message.channel,
        key: message.key,
        at: message.recordedAt,
        source: source.name,
        subscriptions: judged.standings,
        reason: judged.reason,
      });
      this.#noteBlindSpots(message, judged);
      if (this.#canRepublish(message, judged)) missing.push(message);
    }
    await this.#repair(missing);
  }

  /**
   * A message moves from the backlog into an inbox or to the dead letters, which is the order of the looks. A redrive moves the other way: a letter that became a backlog between
   * the looks is seen at neither. So what would be missing is looked for once more.
   */
  async #judge(items: readonly RecordedMessage[]): Promise<ReadonlyMap<RecordedMessage, Judged>> {
    const evidence = await this.#evidenceFor(items);
    const found = new Map(items.map((message) => [message, judge(message, evidence)]));
    const gone = items.filter((message) =>
      Object.values(found.get(message)?.standings ?? {}).includes('missing'),
    );
    if (gone.length === 0) return found;
    const again = await this.#evidenceFor(gone);
    for (const message of gone) found.set(message, judge(message, again));
    return found;
  }

  async #evidenceFor(items: readonly RecordedMessage[]): Promise<Evidence> {
    const published = items.filter(({ state }) => state === 'published');
    // Before the engine is asked: whatever takes long after that makes nothing older than what the engine was seen to hold.
    const now = this.#options.clock.now();
    // In the direction in which a message moves, engine first: one that is settled meanwhile is then seen at both ends, not at none.
    if (published.length > 0) await this.#backlog.look();
    const inboxes = await Promise.all(
      this.#options.settled.map(async (source) => {
        const ids = published.filter(({ channel }) => source.channels.includes(channel)).map(({ id }) => id);
        const settled = ids.length === 0 ? new Set<string>() : await source.settled(ids);
        return { source, settled, keptSince: await source.keptSince() };
      }),
    );
    const open = published.filter(({ id, channel }) =>
      inboxes.some(({ source, settled }) => source.channels.includes(channel) && !settled.has(id)),
    );
    const openIds = open.map(({ id }) => id);
    return {
      now,
      graceMs: this.#graceMs,
      inboxes,
      deadLetters: await deadLettersOf(this.#options.engine, openIds),
      backlog: this.#backlog,
      // Behind the dead letters: what a person decides about meanwhile is found as one or the other.
      decisions: await this.#decisionsAbout(openIds),
    };
  }

  #decisionsAbout(messageIds: readonly string[]): Promise<Decisions> {
    const { decisions = [], assumeUndecided = false } = this.#options;
    return decisionsAbout(decisions, messageIds, assumeUndecided);
  }

  #noteBlindSpots({ channel }: RecordedMessage, { standings }: Judged): void {
    for (const [subscription, standing] of Object.entries(standings))
      if (
        (standing === 'missing' || standing === 'unverifiable') &&
        this.#backlog.isBlindTo(channel, subscription)
      )
        this.#report.addBlindSpot(channel, subscription);
  }

  /** Tells what only a person may do, and answers whether a repair may publish the message. */
  #canRepublish(message: RecordedMessage, judged: Judged): boolean {
    const { kind, reason, doubts, objections, mayBeDecided } = judged;
    const { id, channel } = message;
    const person = (why: string, remedy: string): false => {
      this.#report.addNeedsPerson({ id, channel, why, remedy });
      return false;
    };
    if (kind === 'unpublished')
      return person(
        `not published: ${reason ?? 'the relay has not come to it'}`,
        reason === undefined
          ? 'see that a relay runs and reaches the engine'
          : 'remove what the reason names; a running relay does the rest',
      );
    if (kind === 'parkedInOutbox')
      return person(
        `refused by the engine: ${reason ?? 'no reason kept'}`,
        'retryParked after the cause is removed, or discardParked',
      );
    if (kind === 'deadLetter')
      return person('parked as a dead letter', 'redrive it, correct it or discard it');
    if (kind === 'unverifiable' && doubts.length > 0)
      return person(
        `perhaps lost: ${reason ?? ''}`,
        [...new Set(doubts.map(({ why }) => CERTAINTY[why]))].join('; '),
      );
    if (kind !== 'lost' && kind !== 'partlyLost') return false;
    if (message.outgoing === undefined)
      return person('its stored text cannot be read', 'restore the row from a backup');
    const { repair, decisions = [] } = this.#options;
    const { inOrder = [], withoutInbox = false } = repair ?? {};
    if (inOrder.includes(channel))
      return person(
        'order matters on this channel, and later messages of its key may be settled',
        'publish it by hand when its effect may come late',
      );
    if (objections.length > 0)
      return person(
        `a repair goes to every subscription: ${objections.map(({ subscription, why }) => OBJECTIONS[why](subscription)).join('; ')}`,
        remedyOf(objections),
      );
    if (mayBeDecided)
      return person(
        'perhaps a person decided about it: that looks the same, and nobody noted it',
        decisions.length === 0 ? NO_LOG : BEFORE_THE_LOG,
      );
    const bare = withoutInbox
      ? undefined
      : this.#backlog.subscriptionsOf(channel).find((name) => !this.#keepsInbox(channel, name));
    if (bare !== undefined)
      return person(
        `subscription "${bare}" keeps no inbox here and would handle it again`,
        'give its inbox, or allow withoutInbox',
      );
    return true;
  }

  #keepsInbox(channel: string, name: string): boolean {
    return this.#options.settled.some(
      ({ subscription, channels }) => subscription === name && channels.includes(channel),
    );
  }

  async #repair(missing: readonly RecordedMessage[]): Promise<void> {
    if (missing.length === 0) return;
    const { repair } = this.#options;
    if (!repair) return this.#report.addRepair(missing.length, 0, undefined);
    // As the relay does it: halved where it is refused, so that one message keeps no other from its repair. Without their keys, because here none waits for another.
    const originals = new Map<OutgoingMessage, OutgoingMessage>();
    const rows = missing.flatMap(({ outgoing }, number) => {
      if (!outgoing) return [];
      const row = { ...outgoing, message: withoutKey(outgoing.message), number };
      originals.set(row, outgoing);
      return [row];
    });
    this.#mayHavePublished = true;
    const { verdicts, stoppedBy } = await sendRows(rows, {
      forward: (some) => repair.bus.forward(some.flatMap((row) => originals.get(row) ?? [])),
      keyOrder: 'batched',
      onPoison: 'skip',
      mayGoOn: () => true,
    });
    let republished = 0;
    for (const [number, { kind, reason }] of verdicts) {
      const message = missing[number] as RecordedMessage;
      if (kind === 'published') {
        republished += 1;
        this.#noteOwn(message);
      } else this.#notRepublished(message, kind, reason);
    }
    const failure = stoppedBy === undefined ? undefined : describeError(stoppedBy);
    this.#report.addRepair(missing.length, republished, failure);
  }

  /** For the looks of the pages to come. What expires or waits for a time may leave a queue without a consumer, and is not counted. */
  #noteOwn(message: RecordedMessage): void {
    const { channel, outgoing } = message;
    if (outgoing?.message.expiresAt !== undefined || outgoing?.dueAt !== undefined) return;
    const reached = this.#options.settled.filter(
      ({ channels, takes }) => channels.includes(channel) && (takes?.(message) ?? true),
    );
    for (const name of new Set(reached.map(({ subscription }) => subscription)))
      this.#backlog.addOwn(channel, name);
  }

  #notRepublished({ id, channel }: RecordedMessage, kind: 'waiting' | 'parked', reason: string): void {
    this.#report.addFailure(`${id} on "${channel}": ${reason}`);
    if (kind === 'parked')
      this.#report.addNeedsPerson({
        id,
        channel,
        why: `the repair was refused: ${reason}`,
        remedy: 'declare the channel on the bus of the repair, or correct the message and publish it by hand',
      });
  }

  async #checkSettled(source: SettledSource, items: readonly SettledMessage[]): Promise<void> {
    const { recorded } = this.#options;
    const ids = items.map(({ id }) => id);
    const known = await Promise.all(recorded.map((one) => one.recorded(ids)));
    const unrecorded = items.filter(({ id }) => !known.some((set) => set.has(id)));
    const decisions = await this.#decisionsAbout(unrecorded.map(({ id }) => id));
    // A corrected message was made by a person, beside every outbox.
    const unknown = unrecorded.filter(({ id }) => !decisions.isReplacement(id));
    const keptSince =
      unknown.length === 0 ? 0 : Math.max(0, ...(await Promise.all(recorded.map((one) => one.keptSince()))));
    // Behind all that may fail: a page that breaks is looked at again, and must not be counted twice.
    this.#report.addSettledKnown(items.length - unknown.length);
    for (const { id, settledAt } of unknown) {
      const isCertain = keptSince === 0 || (timeOfId(id) ?? 0) >= keptSince;
      this.#report.add('settled', {
        kind: isCertain ? 'unrecorded' : 'unverifiable',
        id,
        channel: undefined,
        key: undefined,
        at: settledAt,
        source: source.subscription,
        subscriptions: { [source.subscription]: 'settled' },
        reason: isCertain ? undefined : 'an outbox may have purged it',
      });
      if (isCertain)
        this.#report.addNeedsPerson({
          id,
          channel: undefined,
          why: `settled by "${source.subscription}", and no producer given here recorded it`,
          remedy: `find who published it: another producer, a publish beside the outbox, ${EDITED.test(id) ? 'the corrected message of a dead letter, ' : ''}or a database set back`,
        });
    }
  }
}

/** Of what a repair leaves alone because it would reach others, too. */
function remedyOf(objections: readonly At<Objection>[]): string {
  const names = (of: readonly At<Objection>[]): string =>
    of.map(({ subscription }) => `"${subscription}"`).join(' and ');
  const at = (why: Objection): readonly At<Objection>[] => objections.filter((one) => one.why === why);
  const [letters, late] = [at('deadLetter'), at('joinedLater')];
  return [
    ...(letters.length > 0
      ? [`redrive it, correct it or discard it at ${names(letters)} and ask again`]
      : []),
    ...(late.length > 0
      ? [`leave out "since" of ${names(late)} where all that is older may come to it`]
      : []),
    // By hand it comes to all of them, also beside a letter that somebody may still correct.
    letters.length > 0
      ? 'or rewind what misses it to before it'
      : `rewind what misses it to before it, or publish it by hand where ${names(objections)} may handle it`,
  ].join(', ');
}

/** Nothing lies in a window that ends before it begins: it would look as if all were well. */
function refuseBadWindow(window: TimeWindow): void {
  refuseBadNumbers('the window of a reconciliation', window, { from: TIME, to: TIME });
  if (window.from >= window.to)
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      `the window of a reconciliation: from, ${window.from}, is not before to, ${window.to}`,
    );
}

function withoutKey(message: Message): Message {
  const { key: _, ...rest } = message;
  return rest;
}

/** Ids of corrected messages are UUIDv8, which hardly anything else is. */
const EDITED = /^[0-9a-f]{8}-[0-9a-f]{4}-8/;
const UUID_V7 = /^([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-/;

/** When a UUIDv7 was made, ms since the epoch; undefined for another id. Only to tell whether records reach back to it. */
function timeOfId(id: string): number | undefined {
  const found = UUID_V7.exec(id);
  return found ? Number.parseInt(`${found[1]}${found[2]}`, 16) : undefined;
}
