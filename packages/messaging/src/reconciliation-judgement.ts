/** What a recorded message comes to, given what the inboxes and the engine say: pure, in the order of its rules. */
import type { Decisions } from './reconciliation-decisions.ts';
import type { Doubt as EngineDoubt, EngineBacklog, LetterPlace } from './reconciliation-engine.ts';
import type { FindingKind, Standing } from './reconciliation-report.ts';
import type { RecordedMessage, SettledSource } from './reconciliation-sources.ts';

/** `skipped`: a rewind may have gone past it. */
export type Doubt = EngineDoubt | 'skipped';

/**
 * Why a subscription must not get a message again: it `joinedLater` and never was to settle it, a person `decided` about it there, or has yet to, where it is a `deadLetter` (handled meanwhile, and corrected afterwards, both would take effect), a
 * rewind may have `skipped` it, or the inbox may have `forgotten` that it was settled and would let it take effect twice.
 */
export type Objection = 'decided' | 'deadLetter' | 'skipped' | 'forgotten' | 'joinedLater';

export interface At<Why> {
  readonly subscription: string;
  readonly why: Why;
}

export interface InboxEvidence {
  readonly source: Pick<SettledSource, 'subscription' | 'channels' | 'takes' | 'since'>;
  readonly settled: ReadonlySet<string>;
  readonly keptSince: number;
}

export interface Evidence {
  readonly now: number;
  readonly graceMs: number;
  readonly inboxes: readonly InboxEvidence[];
  /** By message id, where it is a dead letter. */
  readonly deadLetters: ReadonlyMap<string, readonly LetterPlace[]>;
  readonly backlog: Pick<EngineBacklog, 'mayHold' | 'doubt'>;
  readonly decisions: Pick<Decisions, 'since' | 'decidedAt' | 'mayBeSkipped' | 'perhapsSkippedAt'>;
}

export interface Judged {
  readonly kind: FindingKind;
  readonly standings: Readonly<Record<string, Standing>>;
  readonly reason: string | undefined;
  /** Where subscriptions would have lost it, if only the engine saw all that it holds. */
  readonly doubts: readonly At<Doubt>[];
  /** Where a repair, which goes to every subscription of the channel, would undo or repeat something. */
  readonly objections: readonly At<Objection>[];
  /** It is missing, and so old that a person may have decided about it where nobody noted it. */
  readonly mayBeDecided: boolean;
}

/** What nobody has doubts about, nor anything against. */
const PLAIN = { reason: undefined, doubts: [], objections: [], mayBeDecided: false } as const;

export function judge(message: RecordedMessage, evidence: Evidence): Judged {
  if (message.state !== 'published') return judgeUnsent(message, evidence);
  const expected = evidence.inboxes.filter(({ source }) => isMeantFor(source, message));
  if (expected.length === 0) return { ...PLAIN, kind: 'unwatched', standings: {} };
  const standings: Record<string, Standing> = {};
  const doubts: At<Doubt>[] = [];
  for (const inbox of expected) {
    const { subscription } = inbox.source;
    const standing = standingOf(message, inbox, evidence);
    const doubt = standing === 'missing' ? doubtOf(message, subscription, evidence) : undefined;
    if (doubt !== undefined) doubts.push({ subscription, why: doubt });
    standings[subscription] = doubt === undefined ? standing : 'unverifiable';
  }
  return {
    kind: kindOf(message, Object.values(standings), evidence.now, doubts.length > 0),
    standings,
    reason: doubts.length === 0 ? undefined : doubts.map(reasonOf).join('; '),
    doubts,
    objections: objectionsTo(message, expected, evidence),
    mayBeDecided: message.recordedAt <= evidence.decisions.since,
  };
}

function doubtOf(message: RecordedMessage, subscription: string, evidence: Evidence): Doubt | undefined {
  const { channel, recordedAt } = message;
  if (evidence.decisions.mayBeSkipped(channel, subscription, recordedAt)) return 'skipped';
  return evidence.backlog.doubt(channel, subscription);
}

/**
 * The first of each subscription, also of one whose inbox is not given. Nothing speaks against what an inbox knows, because it comes to nothing there; what seems to wait is no such thing: a
 * backlog that reaches back that far need not hold it.
 */
function objectionsTo(
  message: RecordedMessage,
  expected: readonly InboxEvidence[],
  { inboxes, deadLetters, decisions }: Evidence,
): readonly At<Objection>[] {
  const { id, channel, recordedAt } = message;
  const here = inboxes.filter(({ source }) => source.channels.includes(channel));
  const settled = new Set(namesOf(here.filter((one) => one.settled.has(id))));
  const letters = (deadLetters.get(id) ?? []).filter((letter) => letter.channel === channel);
  const found = new Map<string, Objection>();
  const object = (why: Objection, subscriptions: Iterable<string>): void => {
    for (const one of subscriptions) if (!settled.has(one) && !found.has(one)) found.set(one, why);
  };
  object('decided', decisions.decidedAt(channel, id));
  object(
    'deadLetter',
    letters.map((letter) => letter.subscription),
  );
  // What `takes` leaves out comes to nobody: the engine routes what is published again as it did the first time.
  const reached = here.filter(({ source }) => source.takes?.(message) ?? true);
  const isReached = (name: string): boolean =>
    !namesOf(here).includes(name) || namesOf(reached).includes(name);
  object('skipped', decisions.perhapsSkippedAt(channel, recordedAt).filter(isReached));
  object('forgotten', namesOf(expected.filter(({ keptSince }) => recordedAt < keptSince)));
  const late = namesOf(reached.filter(({ source }) => recordedAt < (source.since ?? 0)));
  object(
    'joinedLater',
    late.filter((one) => !namesOf(expected).includes(one)),
  );
  return [...found].map(([subscription, why]) => ({ subscription, why }));
}

const namesOf = (inboxes: readonly InboxEvidence[]): readonly string[] =>
  inboxes.map(({ source }) => source.subscription);

/**
 * By when it was published: what is too young to judge, and what may still wait, is judged by the latest time that it can have been. Whether a person may have decided about it, or an
 * inbox have forgotten it, is asked of the earliest, which is its recording: a relay notes some time after a publishing, and one that starts again as late as that.
 */
function publishedBy({ publishedAt, recordedAt }: RecordedMessage): number {
  return publishedAt ?? recordedAt;
}

const REASONS: Readonly<Record<Doubt, (subscription: string) => string>> = {
  blind: (subscription) => `the engine does not show subscription "${subscription}", where it may wait`,
  partial: (subscription) =>
    `subscription "${subscription}" may hold it where the engine does not see it: at a handler, or waiting for a retry`,
  skipped: (subscription) => `subscription "${subscription}" was rewound to a later point, perhaps past it`,
};

const reasonOf = ({ subscription, why }: At<Doubt>): string => REASONS[why](subscription);

function judgeUnsent({ state, recordedAt, reason }: RecordedMessage, { now, graceMs }: Evidence): Judged {
  const kind = now - recordedAt < graceMs ? 'inFlight' : 'unpublished';
  if (state === 'parked') return { ...PLAIN, kind: 'parkedInOutbox', standings: {}, reason };
  if (state === 'discarded') return { ...PLAIN, kind: 'discarded', standings: {}, reason };
  return { ...PLAIN, kind, standings: {}, reason };
}

function isMeantFor(
  { channels, takes, since = 0 }: InboxEvidence['source'],
  message: RecordedMessage,
): boolean {
  return channels.includes(message.channel) && message.recordedAt >= since && (takes?.(message) ?? true);
}

function standingOf(message: RecordedMessage, inbox: InboxEvidence, evidence: Evidence): Standing {
  const { id, channel, outgoing } = message;
  const { subscription } = inbox.source;
  const age = evidence.now - Math.max(publishedBy(message), outgoing?.dueAt ?? 0);
  if (inbox.settled.has(id)) return 'settled';
  const letters = evidence.deadLetters.get(id) ?? [];
  if (letters.some((one) => one.channel === channel && one.subscription === subscription))
    return 'deadLetter';
  if (evidence.decisions.decidedAt(channel, id).has(subscription)) return 'decided';
  if (age < evidence.graceMs) return 'inFlight';
  // Engines count the age of a delayed message from its publishing or from when it was due: the later of them misses none.
  if (evidence.backlog.mayHold(channel, subscription, age)) return 'waiting';
  return message.recordedAt < inbox.keptSince ? 'unverifiable' : 'missing';
}

function kindOf(
  { outgoing }: RecordedMessage,
  standings: readonly Standing[],
  now: number,
  isDoubtful: boolean,
): FindingKind {
  const has = (standing: Standing): boolean => standings.includes(standing);
  if (has('missing') || isDoubtful) {
    const expiresAt = outgoing?.message.expiresAt;
    if (expiresAt !== undefined && Date.parse(expiresAt) <= now) return 'expired';
  }
  if (has('missing')) {
    return standings.every((standing) => standing === 'missing') ? 'lost' : 'partlyLost';
  }
  if (has('deadLetter')) return 'deadLetter';
  if (has('unverifiable')) return 'unverifiable';
  if (has('waiting')) return 'waitingInEngine';
  if (has('inFlight')) return 'inFlight';
  return has('decided') ? 'decided' : 'settled';
}
