/**
 * Attempts and failure history: what the toolkit keeps beside a message through retries, dead letter and redrive. It travels as an
 * opaque text that the engine stores, so counting never depends on what an engine calls an attempt.
 *
 * Attempts = failures recorded here + hand-outs the engine saw end without a settlement (a killed process). The latter have a limit of
 * their own, so that a message that kills its process ends as a dead letter and its neighbours do not.
 */
import { MessagingError } from './errors.ts';
import type { Delivery, FailureRecord, Letter, Settlement } from './engine.ts';
import { COUNT, refuseBadNumbers, WAIT_MS } from './sound-numbers.ts';

export interface RetryPolicy {
  /** Further attempts at once, within the same hand-out. Default 1. */
  readonly immediate?: number;
  /** Waits in ms before the attempts after those; then it is a dead letter. Default 1 s, 10 s, 60 s. */
  readonly delayed?: readonly number[];
  /**
   * Hand-outs that may end without a settlement (a killed process, a lost lease) before it is a dead letter. Counted apart from the others,
   * because a crash also meets messages that had nothing to do with it. Default 5.
   */
  readonly abandoned?: number;
  /** Delayed attempts come up to this share later, at random, so that what failed together does not come back together; 0 to 1. Default 0.2. */
  readonly jitter?: number;
}

const DEFAULT_RETRIES: Required<RetryPolicy> = {
  immediate: 1,
  delayed: [1_000, 10_000, 60_000],
  abandoned: 5,
  jitter: 0.2,
};

const RULES = {
  immediate: { from: 0, whole: true },
  abandoned: COUNT,
  jitter: { from: 0, to: 1 },
} as const;

/** The policy with its defaults; one that is `undefined` counts as not given. Throws DB_MSG_INVALID_OPTIONS for what would retry for ever or at no time. */
export function retriesOf(given: RetryPolicy = {}): Required<RetryPolicy> {
  const policy = {
    immediate: given.immediate ?? DEFAULT_RETRIES.immediate,
    delayed: given.delayed ?? DEFAULT_RETRIES.delayed,
    abandoned: given.abandoned ?? DEFAULT_RETRIES.abandoned,
    jitter: given.jitter ?? DEFAULT_RETRIES.jitter,
  };
  refuseBadNumbers('retries', policy, RULES);
  if (!Array.isArray(policy.delayed))
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', 'retries: delayed is a list of waits in ms');
  for (const delayed of policy.delayed) refuseBadNumbers('retries', { delayed }, { delayed: WAIT_MS });
  return policy;
}

export interface AttemptState {
  /** Failed attempts since it was published or redriven. */
  readonly attempts: number;
  /** Hand-outs without a settlement that are already counted in `attempts`; the engine counts from 0 after a redrive. */
  readonly abandoned: number;
  readonly redrives: number;
  /** Id of the dead letter this message was redriven from. */
  readonly redriveOf?: string;
  readonly history: readonly FailureRecord[];
}

/** History kept per message: the first ones, which tell how it began, and the latest. */
const HISTORY_FIRST = 5;
const HISTORY_LAST = 15;
const REASON_LENGTH = 2_000;
/** Two, because the first crash meets everything that was on hand. */
const SUSPECT_FROM = 2;
export const NEVER_TRIED: AttemptState = Object.freeze({
  attempts: 0,
  abandoned: 0,
  redrives: 0,
  history: [],
});

/** True when the message must not be handled again. */
export function isExhausted(policy: Required<RetryPolicy>, state: AttemptState): boolean {
  const failures = state.attempts - state.abandoned;
  return failures >= 1 + policy.immediate + policy.delayed.length || state.abandoned >= policy.abandoned;
}

/** Handed out in vain so often that it may be what kills its process: handled alone, so that it takes no others with it. */
export function isSuspect(delivery: Delivery): boolean {
  return (delivery.abandoned ?? 0) >= SUSPECT_FROM;
}

/** The usual case, which needs neither a clock nor its text read. */
export function isUntried({ state, abandoned }: Delivery): boolean {
  return state === undefined && !abandoned;
}

/** What came beside a message: its state, and what is wrong with the text where no toolkit can have written it. */
export interface AttemptsRead {
  readonly state: AttemptState;
  readonly fault: string | undefined;
}

/**
 * The state of a delivery; hand-outs that ended in a crash are added as failed attempts. Never throws: on a broker the text is a header that any
 * publisher may set, and one that threw would come again for ever.
 */
export function readAttempts({ state: text, abandoned = 0 }: Delivery, now: number): AttemptsRead {
  const stored = text === undefined ? NEVER_TRIED : parseState(text);
  if (stored === undefined)
    return {
      state: withAbandoned(NEVER_TRIED, abandoned, now),
      fault: `the state beside the message is none of this toolkit: ${String(text).slice(0, 200)}`,
    };
  return { state: withAbandoned(stored, abandoned, now), fault: undefined };
}

function withAbandoned(state: AttemptState, abandoned: number, now: number): AttemptState {
  const unseen = abandoned - state.abandoned;
  if (!(unseen > 0)) return state;
  // However high an engine counts, no more records than these are kept.
  const records = Math.min(unseen, HISTORY_FIRST + HISTORY_LAST);
  let counted: AttemptState = { ...state, attempts: state.attempts + unseen - records };
  for (let record = 0; record < records; record += 1)
    counted = recordFailure(
      counted,
      'abandoned',
      'handed out and never settled: the process ended or the lease was lost',
      now,
    );
  return { ...counted, abandoned };
}

function parseState(text: string): AttemptState | undefined {
  try {
    const state = JSON.parse(text) as Partial<Record<keyof AttemptState, unknown>> | null;
    if (typeof state !== 'object' || state === null) return undefined;
    const { attempts, abandoned, redrives, redriveOf, history } = state;
    const isSound =
      [attempts, abandoned, redrives].every(isCount) &&
      (redriveOf === undefined || typeof redriveOf === 'string') &&
      Array.isArray(history) &&
      history.every(isRecord);
    return isSound ? (state as AttemptState) : undefined;
  } catch {
    return undefined;
  }
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

function isRecord(value: unknown): boolean {
  const record = value as Partial<Record<keyof FailureRecord, unknown>> | null;
  return (
    isCount(record?.attempt) &&
    [record?.at, record?.kind, record?.reason].every((one) => typeof one === 'string')
  );
}

export function recordFailure(
  state: AttemptState,
  kind: FailureRecord['kind'],
  reason: string,
  now: number,
): AttemptState {
  const attempts = state.attempts + 1;
  const record = {
    attempt: attempts,
    at: new Date(now).toISOString(),
    kind,
    reason: reason.slice(0, REASON_LENGTH),
  };
  return { ...state, attempts, history: shorten([...state.history, record]) };
}

function shorten(history: readonly FailureRecord[]): readonly FailureRecord[] {
  if (history.length <= HISTORY_FIRST + HISTORY_LAST) return history;
  return [...history.slice(0, HISTORY_FIRST), ...history.slice(-HISTORY_LAST)];
}

/** What to do after a recorded failure: an immediate attempt, a later one, or none. `delayMs` is the handler's own wish. */
export function nextAttempt(
  policy: Required<RetryPolicy>,
  state: AttemptState,
  delayMs: number | undefined,
  /** From 0 to below 1. */
  draw: () => number,
): 'now' | { readonly afterMs: number } | 'never' {
  if (isExhausted(policy, state)) return 'never';
  if (delayMs !== undefined) return { afterMs: delayMs };
  const failures = state.attempts - state.abandoned;
  if (failures <= policy.immediate) return 'now';
  const waitMs = policy.delayed[failures - 1 - policy.immediate] ?? 0;
  return { afterMs: Math.round(waitMs * (1 + policy.jitter * draw())) };
}

/** Due at a whole millisecond, never before: stores count in whole ones, and a handler's delay may be a fraction. */
export function retrySettlement(delivery: Delivery, state: AttemptState, dueAt: number): Settlement {
  return { kind: 'retry', token: delivery.token, dueAt: Math.ceil(dueAt), state: JSON.stringify(state) };
}

export function deadLetterSettlement(
  delivery: Delivery,
  state: AttemptState,
  letterId: string,
  reason: string,
  now: number,
): Settlement {
  const at = new Date(now).toISOString();
  const redriven: FailureRecord = {
    attempt: 0,
    at,
    kind: 'redriven',
    reason: `redriven from dead letter ${letterId}`,
  };
  const onRedrive: AttemptState = {
    attempts: 0,
    abandoned: 0,
    redrives: state.redrives + 1,
    redriveOf: letterId,
    history: shorten([...state.history, redriven]),
  };
  const letter: Letter = {
    id: letterId,
    reason: reason.slice(0, REASON_LENGTH),
    group: groupOf(state.history.at(-1)?.kind ?? 'deadLetter', reason),
    at: now,
    history: state.history,
    stateOnRedrive: JSON.stringify(onRedrive),
  };
  return { kind: 'deadLetter', token: delivery.token, letter };
}

/** One group per cause: numbers, ids and quoted values are what differs between two messages that failed alike. */
export function groupOf(kind: FailureRecord['kind'], reason: string): string {
  const cause = reason
    .split('\n', 1)[0]
    ?.replace(/\b[0-9a-f]{8}-[0-9a-f-]{27}\b/gi, '#')
    .replace(/"[^"]*"|'[^']*'/g, '#')
    .replace(/\d+/g, '#');
  return `${kind}: ${cause}`.slice(0, 200);
}
