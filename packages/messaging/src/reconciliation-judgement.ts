/** What a recorded message comes to, given what the inboxes and the engine say: pure, in the order of its rules. */
import type { Decisions } from './reconciliation-decisions.ts';
import type { Doubt as EngineDoubt, EngineBacklog } from './reconciliation-engine.ts';
import { placeOf } from './reconciliation-engine.ts';
import type { FindingKind, Standing } from './reconciliation-report.ts';
import type { RecordedMessage, SettledSource } from './reconciliation-sources.ts';

/** `skipped`: a rewind may have gone past it. */
export type Doubt = EngineDoubt | 'skipped';

export interface InboxEvidence {
  readonly source: Pick<SettledSource, 'subscription' | 'channels' | 'takes' | 'since'>;
  readonly settled: ReadonlySet<string>;
  readonly keptSince: number;
}

export interface Evidence {
  readonly now: number;
  readonly graceMs: number;
  readonly inboxes: readonly InboxEvidence[];
  /** By message id, the places (`placeOf`) where it is a dead letter. */
  readonly deadLetters: ReadonlyMap<string, ReadonlySet<string>>;
  readonly backlog: Pick<EngineBacklog, 'mayHold' | 'doubt'>;
  readonly decisions: Pick<Decisions, 'since' | 'isDecided' | 'mayBeSkipped'>;
}

export interface Judged {
  readonly kind: FindingKind;
  readonly standings: Readonly<Record<string, Standing>>;
  readonly reason: string | undefined;
  /** Set where a subscription would have lost it, if only the engine saw all that it holds. */
  readonly doubt?: { readonly subscription: string; readonly why: Doubt };
  /** It is missing, and so old that a person may have decided about it where nobody noted it. */
  readonly mayBeDecided?: boolean;
}

export function judge(message: RecordedMessage, evidence: Evidence): Judged {
  if (message.state !== 'published') return judgeUnsent(message, evidence);
  const expected = evidence.inboxes.filter(({ source }) => isMeantFor(source, message));
  if (expected.length === 0) return { kind: 'unwatched', standings: {}, reason: undefined };
  const standings: Record<string, Standing> = {};
  let doubt: Judged['doubt'];
  for (const inbox of expected) {
    const { subscription } = inbox.source;
    const standing = standingOf(message, inbox, evidence);
    const why = standing === 'missing' ? doubtOf(message, subscription, evidence) : undefined;
    standings[subscription] = why === undefined ? standing : 'unverifiable';
    if (why !== undefined) doubt ??= { subscription, why };
  }
  const kind = kindOf(message, Object.values(standings), evidence.now, doubt !== undefined);
  const mayBeDecided = sentAtOf(message) < evidence.decisions.since;
  if (!doubt) return { kind, standings, reason: undefined, mayBeDecided };
  return { kind, standings, reason: reasonOf[doubt.why](doubt.subscription), doubt, mayBeDecided };
}

function doubtOf(message: RecordedMessage, subscription: string, evidence: Evidence): Doubt | undefined {
  const { channel } = message;
  if (evidence.decisions.mayBeSkipped(channel, subscription, sentAtOf(message))) return 'skipped';
  return evidence.backlog.doubt(channel, subscription);
}

function sentAtOf({ publishedAt, recordedAt }: RecordedMessage): number {
  return publishedAt ?? recordedAt;
}

const reasonOf: Readonly<Record<Doubt, (subscription: string) => string>> = {
  blind: (subscription) => `the engine does not show subscription "${subscription}", where it may wait`,
  partial: (subscription) =>
    `subscription "${subscription}" may hold it where the engine does not see it: at a handler, or waiting for a retry`,
  skipped: (subscription) => `subscription "${subscription}" was rewound to a later point, perhaps past it`,
};

function judgeUnsent({ state, recordedAt, reason }: RecordedMessage, { now, graceMs }: Evidence): Judged {
  if (state === 'parked') return { kind: 'parkedInOutbox', standings: {}, reason };
  if (state === 'discarded') return { kind: 'discarded', standings: {}, reason };
  return { kind: now - recordedAt < graceMs ? 'inFlight' : 'unpublished', standings: {}, reason };
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
  const sentAt = sentAtOf(message);
  const age = evidence.now - Math.max(sentAt, outgoing?.dueAt ?? 0);
  if (inbox.settled.has(id)) return 'settled';
  if (evidence.deadLetters.get(id)?.has(placeOf(channel, subscription))) return 'deadLetter';
  if (evidence.decisions.isDecided(channel, subscription, id)) return 'decided';
  if (age < evidence.graceMs) return 'inFlight';
  // Engines count the age of a delayed message from its publishing or from when it was due: the later of them misses none.
  if (evidence.backlog.mayHold(channel, subscription, age)) return 'waiting';
  return sentAt < inbox.keptSince ? 'unverifiable' : 'missing';
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
