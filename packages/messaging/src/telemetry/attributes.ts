/**
 * Names and values of the OpenTelemetry semantic conventions for messaging (status there: development), written out, because the
 * package that carries them moves its unstable names between releases. What depends on no message is in operations.ts.
 */
import type { Attributes } from '@opentelemetry/api';
import type { Message } from '../message.ts';
import type { Outcome } from '../outcome.ts';

/** The release of the conventions whose names these are; testing/conventions.ts has what it asks for. */
export const CONVENTIONS_VERSION = '1.44.0';

/** Values of `messaging.system`. The conventions know RabbitMQ and Kafka; the others are named for what stores the messages. */
const SYSTEMS: Readonly<Record<string, string>> = {
  embedded: 'doorbuster',
  'redis-lists': 'redis',
  'redis-pubsub': 'redis',
};

export function systemOf(engine: string): string {
  return SYSTEMS[engine] ?? engine;
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
