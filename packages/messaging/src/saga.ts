/**
 * Sagas (process managers): steps in order over several owners of data, each with what undoes it. What is known is stored before and after each
 * step, so a saga goes on after a kill at any point; a step may then run again, with the same step id, by which its other side has to recognise it.
 *
 * An outcome is `done`, `wait` (for a message), `failed` (certainly without effect) or `unknown`. A throw says nothing about the effect: it is tried again, and is unknown
 * when it keeps throwing. Unknown is a state of its own: a late message, the step's policy or a person resolves it, and nothing guesses. This file is the definition and its
 * words; `sagas/saga-runner.ts` runs it, `sagas/saga-state.ts` has the state machine.
 */
import type { Channel, ChannelData } from './channel.ts';
import type { OutgoingMessage } from './engine.ts';
import { MessagingError } from './errors.ts';
import type { Message } from './message.ts';
import { refuseBadNumbers, SPAN_MS, WAIT_MS } from './sound-numbers.ts';

export interface StepContext<Data> {
  readonly key: string;
  readonly data: Data;
  /** The same in every attempt of this step, another for its compensation: give it to the other side as the idempotency key. */
  readonly stepId: string;
  /** 1 for the first. */
  readonly attempt: number;
  /** What `done` of the earlier steps gave, by name. JSON. */
  readonly results: Readonly<Record<string, unknown>>;
  /** Aborts when this attempt has taken its lease: another process may begin the next. */
  readonly signal: AbortSignal;
}

export type StepOutcome =
  | { readonly kind: 'done'; readonly result?: unknown; readonly messages: readonly OutgoingMessage[] }
  | { readonly kind: 'wait'; readonly messages: readonly OutgoingMessage[] }
  | { readonly kind: 'failed'; readonly reason: string }
  | { readonly kind: 'unknown'; readonly reason: string };

/** It took effect. `messages` go into the outbox in the transaction that stores it. `result` is JSON. One that is not, messages that cannot be published or where the store has no outbox, and what the store refuses for good make the outcome unknown. */
export function stepDone(
  result?: unknown,
  options: { readonly messages?: readonly OutgoingMessage[] } = {},
): StepOutcome {
  return { kind: 'done', result, messages: options.messages ?? [] };
}
/** Asked for; a message will tell (`onMessage`), or the time-out. */
export function stepWaits(options: { readonly messages?: readonly OutgoingMessage[] } = {}): StepOutcome {
  return { kind: 'wait', messages: options.messages ?? [] };
}
/** Refused, certainly without effect: everything before it is compensated. */
export function stepFailed(reason: string): StepOutcome {
  return { kind: 'failed', reason };
}
/** It may or may not have taken effect, and asking again would not tell. */
export function stepUnknown(reason: string): StepOutcome {
  return { kind: 'unknown', reason };
}

export interface SagaRetries {
  /** Waits in ms before further attempts after a throw. Default 1 s, 10 s, 60 s. */
  readonly delays: readonly number[];
}

export interface SagaStep<Data> {
  /** Unique in the saga; part of the step id and the name of its result. */
  readonly name: string;
  readonly run: (context: StepContext<Data>) => Promise<StepOutcome> | StepOutcome;
  /** Undoes it, also when it is not known to have been done. Not given: there is nothing to undo. A throw is tried again, then the saga is parked. */
  readonly compensate?: (context: StepContext<Data>) => Promise<void> | void;
  /**
   * Looks at a message while the step waits or its outcome is unknown. undefined: not the one, it is kept for the steps after this one; `stepWaits()`: taken, and it goes on waiting.
   * A throw is tried again after `retries`, while other messages are looked at; then the outcome is unknown, and the message stays unread for a person. So it is at once when what it returns is no outcome, or cannot be stored.
   */
  readonly onMessage?: (
    context: StepContext<Data>,
    message: { readonly id: string; readonly type: string; readonly data: unknown },
  ) => StepOutcome | undefined;
  /** How long it may wait, ms; after it the outcome is unknown. Default: as long as the saga. */
  readonly timeoutMs?: number;
  readonly retries?: SagaRetries;
  /** `hold` (default): stays unknown until a message or a person says. `compensate`: undo it too, for steps whose compensation does no harm where nothing was done. */
  readonly onUnknown?: 'hold' | 'compensate';
}

/** A channel whose messages begin or concern instances. */
export interface SagaStart<Data> {
  readonly channel: Channel;
  readonly key: (message: Message<never>) => string;
  readonly data: (message: Message<never>) => Data;
}
export interface SagaReaction {
  readonly channel: Channel;
  readonly key: (message: Message<never>) => string;
}

export interface SagaDefinition<Data> {
  /** Lower-case, at most 120 characters. */
  readonly name: string;
  /** Add steps at the end only while instances are under way: a step is known by its place. */
  readonly steps: readonly SagaStep<Data>[];
  /** Of the whole: after it a step that waits is unknown and no further step begins. ms. */
  readonly timeoutMs?: number;
  readonly startedBy?: readonly SagaStart<Data>[];
  readonly reactsTo?: readonly SagaReaction[];
}

export interface Saga<Data> extends SagaDefinition<Data> {
  readonly startedBy: readonly SagaStart<Data>[];
  readonly reactsTo: readonly SagaReaction[];
}

const NAME = /^[a-z0-9][a-z0-9._-]{0,119}$/;

/** Throws DB_MSG_INVALID_OPTIONS for times that are no numbers of ms, for names that are not unique or well-formed, and for a channel that is named twice: two subscriptions of one name share its messages out between them. */
export function defineSaga<Data>(definition: SagaDefinition<Data>): Saga<Data> {
  const bad = (detail: string): never => {
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', `saga "${definition.name}": ${detail}`);
  };
  const names = definition.steps.map(({ name }) => name);
  for (const name of [definition.name, ...names])
    if (!NAME.test(name)) bad(`"${name}" is not lower-case letters, digits, dots and dashes, at most 120`);
  if (names.length === 0) bad('it has no steps');
  if (new Set(names).size < names.length) bad('two steps have one name');
  refuseBadTimes(definition);
  const { startedBy = [], reactsTo: reactions = [] } = definition;
  const channels = [...startedBy, ...reactions].map(({ channel }) => channel.name);
  const twice = channels.find((name, index) => channels.indexOf(name) < index);
  if (twice !== undefined) bad(`channel "${twice}" is named twice in startedBy and reactsTo`);
  return Object.freeze({ ...definition, startedBy, reactsTo: reactions });
}

function refuseBadTimes<Data>({ name, steps, timeoutMs }: SagaDefinition<Data>): void {
  if (timeoutMs !== undefined) refuseBadNumbers(`saga "${name}"`, { timeoutMs }, { timeoutMs: SPAN_MS });
  for (const step of steps) {
    const what = `step "${step.name}" of saga "${name}"`;
    if (step.timeoutMs !== undefined) refuseBadNumbers(what, step, { timeoutMs: SPAN_MS });
    for (const delay of step.retries?.delays ?? []) refuseBadNumbers(what, { delay }, { delay: WAIT_MS });
  }
}

/** Instances begin with messages of this channel; a repeated message begins nothing. */
export function startsWith<C extends Channel, Data>(
  channel: C,
  read: {
    readonly key: (message: Message<ChannelData<C>>) => string;
    readonly data: (message: Message<ChannelData<C>>) => Data;
  },
): SagaStart<Data> {
  return { channel, ...read };
}

/** Messages of this channel go to the instance of this key. */
export function reactsTo<C extends Channel>(
  channel: C,
  key: (message: Message<ChannelData<C>>) => string,
): SagaReaction {
  return { channel, key };
}
