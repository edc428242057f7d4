/**
 * Names and values of the OpenTelemetry semantic conventions for messaging (status there: development), written out, because the
 * package that carries them moves its unstable names between releases.
 */
import type { Attributes } from '@opentelemetry/api';
import type { Message } from '../message.ts';
import type { Outcome } from '../outcome.ts';
import type { ConsumingPlace } from '../telemetry.ts';

/** `create` and `send` of the conventions, `process` and `settle`; the name of an operation is what the engine calls it. */
export type OperationType = 'create' | 'send' | 'process' | 'settle';

/** Values of `messaging.system`. The conventions know RabbitMQ and Kafka; the others are named for what stores the messages. */
const SYSTEMS: Readonly<Record<string, string>> = {
  embedded: 'doorbuster',
  'redis-lists': 'redis',
  'redis-pubsub': 'redis',
};

export function systemOf(engine: string): string {
  return SYSTEMS[engine] ?? engine;
}

/** Replies go to a channel of the asking process: too many names for a span or a metric. */
const REPLIES_TEMPLATE = 'replies.{id}';

export interface Operation {
  readonly system: string;
  readonly name: string;
  readonly type: OperationType;
  /** Undefined when one operation serves several. */
  readonly channel: string | undefined;
  readonly subscription?: string;
  readonly temporary?: boolean;
}

export function spanName({ name, channel, temporary }: Operation): string {
  const destination = temporary === true ? REPLIES_TEMPLATE : channel;
  return destination === undefined ? name : `${name} ${destination}`;
}

/** Of few values: fit for metrics as well as spans. */
export function operationAttributes(operation: Operation): Attributes {
  const attributes: Attributes = {
    'messaging.system': operation.system,
    'messaging.operation.name': operation.name,
    'messaging.operation.type': operation.type,
  };
  if (operation.temporary === true) {
    attributes['messaging.destination.template'] = REPLIES_TEMPLATE;
    attributes['messaging.destination.temporary'] = true;
  } else if (operation.channel !== undefined) attributes['messaging.destination.name'] = operation.channel;
  if (operation.subscription !== undefined)
    attributes['messaging.destination.subscription.name'] = operation.subscription;
  return attributes;
}

/** Of one message: for spans only. */
export function messageAttributes({ id, correlationId, key, version }: Message): Attributes {
  const attributes: Attributes = {
    'messaging.message.id': id,
    'doorbuster.messaging.contract_version': version,
  };
  if (correlationId !== undefined) attributes['messaging.message.conversation_id'] = correlationId;
  if (key !== undefined) attributes['doorbuster.messaging.key'] = key;
  return attributes;
}

export function placeAttributes(system: string, { channel, subscription }: ConsumingPlace): Attributes {
  return {
    'messaging.system': system,
    'messaging.destination.name': channel,
    'messaging.destination.subscription.name': subscription,
  };
}

/** Of few values: the code of an operational error, else its class, else what the conventions give for the unknown. */
export function errorType(error: unknown): string {
  if (!(error instanceof Error)) return '_OTHER';
  const { code } = error as { code?: unknown };
  return typeof code === 'string' && code !== '' ? code : error.name;
}

/** What a call of the handler ended with when it did not throw: undefined when all went well. A snooze is not a failure. */
export function failureOfOutcomes(outcomes: readonly Outcome[]): string | undefined {
  const failed = new Set(
    outcomes.flatMap((one) =>
      one?.kind === 'retry' || one?.kind === 'deadLetter'
        ? [one.kind === 'retry' ? 'retry' : 'dead_letter']
        : [],
    ),
  );
  if (failed.size === 0) return undefined;
  return outcomes.length === 1 ? [...failed][0] : 'batch_partly_failed';
}
