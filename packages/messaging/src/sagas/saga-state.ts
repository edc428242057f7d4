/**
 * What is known of one saga, as it is stored. Pure: what a step's outcome makes of it.
 *
 *   running --wait--> waiting --message or time-out--> running        running --last step done--> completed
 *   running, waiting --outcome not known--> unknown --message, person or policy--> running | compensating
 *   running, waiting --failed--> compensating --all undone--> compensated
 *   compensating --a compensation that keeps failing--> parked --person--> compensating
 */
export type SagaStatus =
  | 'running'
  | 'waiting'
  | 'unknown'
  | 'compensating'
  | 'parked'
  | 'completed'
  | 'compensated';

export type StepStatus =
  /** Not begun. */
  | 'open'
  /** Begun; whether it took effect may not be known yet. */
  | 'begun'
  | 'done'
  /** Certainly without effect: it is not compensated. */
  | 'failed'
  | 'unknown'
  | 'undone';

export interface StepState {
  readonly status: StepStatus;
  /** Begun, of `run`, then of `compensate`; counted before each, so that one that ends its process is counted too. */
  readonly attempts: number;
  /** Of those, the ones that threw. */
  readonly failures: number;
  /** What `done` gave. */
  readonly result?: unknown;
}

export interface SagaNote {
  /** ISO 8601. */
  readonly at: string;
  readonly step: string;
  readonly what: string;
  readonly detail?: string;
}

/** A message at which the waiting step threw. */
export interface FailingMail {
  readonly id: string;
  readonly failures: number;
  /** When the step is asked about it again, ms since the epoch. */
  readonly againAt: number;
}

/** How far a step has looked through the mail; see `saga-mail.ts`. */
export interface MailLook {
  /** The index of the step. */
  readonly step: number;
  /** It was asked about all mail with a lower place. */
  readonly upTo: number;
  readonly failing: readonly FailingMail[];
  /** Looks that were begun since the last one that was stored; counted with each lease, so that one that ends its process is counted too. Not given: none. */
  readonly begun?: number;
  /** Since a look that ended with its process: what is asked about one by one. Not given: everything is asked about together. */
  readonly alone?: MailAlone;
  /** Why its outcome is unknown when what is there to be looked at has no answer either: of a message that was given up before. Not given: no such reason. */
  readonly givenUp?: string;
}

/** By places. */
export interface MailAlone {
  /** Whose turn it is. */
  readonly at: number;
  /** What was there when it began has a lower one. */
  readonly before: number;
}

export interface SagaState {
  readonly status: SagaStatus;
  /** Unique per instance: part of every step id. */
  readonly id: string;
  readonly data: unknown;
  /** The index of the step that is worked on. */
  readonly at: number;
  readonly steps: readonly StepState[];
  /** When the whole of it has to be over, ms since the epoch. */
  readonly deadline?: number;
  /** When the step at `at` has waited long enough, ms since the epoch. */
  readonly waitUntil?: number;
  /** Of the last step that looked. Not given: none has. */
  readonly look?: MailLook;
  readonly failure?: string;
  readonly history: readonly SagaNote[];
}

/** The first tell how it began; a saga that is retried for days must not grow without end. */
const HISTORY_FIRST = 50;
const HISTORY_LAST = 150;
const DETAIL_LENGTH = 2_000;

export function beginSaga(id: string, data: unknown, steps: number, deadline: number | undefined): SagaState {
  return {
    status: 'running',
    id,
    data,
    at: 0,
    steps: Array.from({ length: steps }, () => ({ status: 'open', attempts: 0, failures: 0 })),
    ...(deadline === undefined ? {} : { deadline }),
    history: [],
  };
}

export function withNote(
  state: SagaState,
  now: number,
  step: string,
  what: string,
  detail?: string,
): SagaState {
  const note: SagaNote = {
    at: new Date(now).toISOString(),
    step,
    what,
    ...(detail === undefined ? {} : { detail: detail.slice(0, DETAIL_LENGTH) }),
  };
  const all = [...state.history, note];
  const history =
    all.length <= HISTORY_FIRST + HISTORY_LAST
      ? all
      : [...all.slice(0, HISTORY_FIRST), ...all.slice(-HISTORY_LAST)];
  return { ...state, history };
}

export function withStep(state: SagaState, change: Partial<StepState>, at = state.at): SagaState {
  const steps = state.steps.map((step, index) => (index === at ? { ...step, ...change } : step));
  return { ...state, steps };
}

/** The step is done; the next one, or the end. */
export function stepDone(state: SagaState, result: unknown): SagaState {
  const { waitUntil: _, ...rest } = withStep(state, { status: 'done', result });
  const at = state.at + 1;
  return { ...rest, at, status: at === state.steps.length ? 'completed' : 'running' };
}

/** From the step at `at` backwards; `status` is what is known of that step. */
export function turnBack(state: SagaState, status: 'failed' | 'unknown', failure: string): SagaState {
  const { waitUntil: _, ...rest } = withStep(state, { status });
  return nextToUndo({ ...rest, status: 'compensating', failure });
}

/** Steps that were begun and may have had an effect are undone in the reverse order; attempts count anew. */
export function nextToUndo(state: SagaState): SagaState {
  const at = state.steps.findLastIndex(({ status }) => status === 'done' || status === 'unknown');
  if (at < 0) return { ...state, status: 'compensated' };
  return withStep({ ...state, at, status: 'compensating' }, { attempts: 0, failures: 0 }, at);
}

export const isOver = ({ status }: SagaState): boolean => status === 'completed' || status === 'compensated';
export const waitsForMail = ({ status }: SagaState): boolean => status === 'waiting' || status === 'unknown';
