/** What one look at an instance makes of it, to be stored as a whole; pure. The state machine is `saga-state.ts`; here is when it goes on, and what goes out with it. */
import type { OutgoingMessage } from '../engine.ts';
import type { SagaStep, StepOutcome } from '../saga.ts';
import { againAt, lookOf } from './saga-mail.ts';
import * as states from './saga-state.ts';
import type { SagaState } from './saga-state.ts';

/** `undefined` due: only a message or a person goes on. */
export interface Move {
  readonly state: SagaState;
  readonly dueAt: number | undefined;
  readonly messages?: readonly OutgoingMessage[];
  readonly read?: readonly string[];
  /** The next attempt is on record now, or which message is asked about next. */
  readonly marks?: boolean;
  /** This process works on it until it is due. */
  readonly isLease?: boolean;
  /** What becomes of it when the store refuses this for good: the effect has happened, and another attempt would have it again. Not given: nothing else can be stored. */
  readonly refused?: (reason: string) => Move;
}

/** What an outcome makes of the step that is worked on. */
export function concluded(
  before: SagaState,
  step: Pick<SagaStep<never>, 'name' | 'timeoutMs' | 'onUnknown'>,
  outcome: StepOutcome,
  now: number,
): Move {
  const detail = 'reason' in outcome ? outcome.reason : undefined;
  const noted = states.withNote(before, now, step.name, outcome.kind, detail);
  switch (outcome.kind) {
    case 'done':
      return { state: states.stepDone(noted, outcome.result), dueAt: now, messages: outcome.messages };
    case 'wait': {
      const never = Number.POSITIVE_INFINITY;
      const waitUntil = Math.min(noted.deadline ?? never, now + (step.timeoutMs ?? never));
      const state: SagaState = {
        ...noted,
        status: 'waiting',
        ...(Number.isFinite(waitUntil) ? { waitUntil } : {}),
      };
      return { state, dueAt: state.waitUntil, messages: outcome.messages };
    }
    case 'failed':
      return { state: states.turnBack(noted, 'failed', outcome.reason), dueAt: now };
    case 'unknown':
      return step.onUnknown === 'compensate'
        ? { state: states.turnBack(noted, 'unknown', outcome.reason), dueAt: now }
        : { state: { ...noted, status: 'unknown' }, dueAt: undefined };
  }
}

/** What came of the mail goes with the move; what has to be asked about again makes it due. */
export function withMail(move: Move, read: readonly string[], messages: readonly OutgoingMessage[]): Move {
  const { state, dueAt } = move;
  const again = states.waitsForMail(state) ? againAt(lookOf(state)) : undefined;
  return {
    ...move,
    dueAt: again === undefined ? dueAt : Math.min(again, dueAt ?? again),
    messages: [...messages, ...(move.messages ?? [])],
    read,
  };
}
