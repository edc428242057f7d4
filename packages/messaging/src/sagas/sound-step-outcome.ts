/**
 * What a step returned, made sound before anything is stored: written by hand, or from JavaScript, it may be anything. The effect of the step has happened by
 * then, so what cannot be used is no failure that could be tried again: its outcome is unknown, with the reason, the first time. Found out only when it is stored,
 * it is unknown too, but told in the words of a database, and on one database only.
 */
import { encodeCloudEvent } from '../cloud-event.ts';
import type { OutgoingMessage } from '../engine.ts';
import { describeError, MessagingError } from '../errors.ts';
import type { StepOutcome } from '../saga.ts';
import { faultOfOutgoing } from '../sound-outgoing.ts';
import { faultOfText } from '../sound-text.ts';

export interface UnusableOutcome {
  readonly kind: 'unusable';
  readonly reason: string;
}

/** `emits`: whether the store hands messages to an outbox. */
export function soundStepOutcome(returned: unknown, emits: boolean): StepOutcome | UnusableOutcome {
  try {
    return soundOf(returned, emits);
  } catch (error) {
    return { kind: 'unusable', reason: `its outcome cannot be used: ${describeError(error)}` };
  }
}

function soundOf(returned: unknown, emits: boolean): StepOutcome {
  const outcome = returned as Partial<Record<'kind' | 'result' | 'messages' | 'reason', unknown>> | undefined;
  switch (outcome?.kind) {
    case 'done':
      refuseUnstorable(outcome.result);
      return { kind: 'done', result: outcome.result, messages: messagesOf(outcome.messages, emits) };
    case 'wait':
      return { kind: 'wait', messages: messagesOf(outcome.messages, emits) };
    case 'failed':
    case 'unknown':
      return { kind: outcome.kind, reason: textOf(outcome.reason) };
    default:
      throw new TypeError(
        'the step returned no outcome: it has to return stepDone(), stepWaits(), stepFailed() or stepUnknown()',
      );
  }
}

/** Throws DB_MSG_INVALID_OPTIONS for a result that JSON cannot say: with a BigInt, a cycle, or a `toJSON` that throws. */
export function refuseUnstorable(result: unknown): void {
  try {
    JSON.stringify(result);
  } catch (cause) {
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', 'JSON cannot say the result of a step', { cause });
  }
}

function messagesOf(given: unknown, emits: boolean): readonly OutgoingMessage[] {
  const messages = (given ?? []) as readonly Partial<OutgoingMessage>[];
  if (!Array.isArray(given ?? []) || !messages.every((one) => isOutgoing(one)))
    throw new TypeError(
      'the messages of a step are an array of { channel, message }, as an outbox takes them',
    );
  if (messages.length > 0 && !emits)
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      'the step emits messages, but the store was given no appendToOutbox',
    );
  for (const one of messages as readonly OutgoingMessage[]) refuseUnsendable(one);
  return messages as readonly OutgoingMessage[];
}

/** As the relay of an outbox would refuse it, and its encoding: the store would fail with it, in the words of its database, or keep what can never be published. */
function refuseUnsendable(one: OutgoingMessage): void {
  const fault = faultOfOutgoing(one) ?? faultOfChannel(one.channel);
  const bad = (detail: string, cause?: unknown): never => {
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', `a message for "${one.channel}": ${detail}`, {
      cause,
    });
  };
  if (fault !== undefined) bad(fault);
  try {
    encodeCloudEvent(one.message);
  } catch (cause) {
    bad('it cannot be encoded', cause);
  }
}

function faultOfChannel(name: string): string | undefined {
  const fault = faultOfText(name);
  return fault === undefined ? undefined : `the name of a channel ${fault}`;
}

function isOutgoing(one: Partial<OutgoingMessage> | undefined | null): boolean {
  return typeof one?.channel === 'string' && typeof one.message === 'object' && one.message !== null;
}

function textOf(reason: unknown): string {
  if (typeof reason === 'string') return reason;
  return reason === undefined || reason === null ? 'the step gave no reason' : describeError(reason);
}
