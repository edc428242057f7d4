/**
 * Messages that were made elsewhere (by an outbox, by hand), looked at before they go to an engine: types refuse what is refused here, JavaScript does not. Those that
 * the bus makes are sound by their making. Each answers with what is wrong, or undefined.
 */
import { faultOfHeaders } from './cloud-event.ts';
import type { OutgoingMessage } from './engine.ts';
import { faultOfId, faultOfName, faultOfRoutingKey, faultOfText } from './sound-text.ts';

export function faultOfOutgoing(outgoing: OutgoingMessage): string | undefined {
  if (!isObject(outgoing)) return 'a message to publish is an object with its channel';
  const { message, dueAt, priority } = outgoing;
  const fault = faultOfMessage(message);
  if (fault !== undefined) return fault;
  if (dueAt !== undefined && !Number.isFinite(dueAt))
    return `dueAt of message ${message.id} is ms since the epoch`;
  const ofHeaders = faultOfHeaders(message.headers);
  if (ofHeaders !== undefined) return `message ${message.id}: ${ofHeaders}`;
  if (priority !== undefined && !(Number.isSafeInteger(priority) && priority >= 0))
    return `priority of message ${message.id} is a whole number from 0`;
  return undefined;
}

const OPTIONAL_TEXTS = ['key', 'correlationId', 'causationId', 'traceparent'] as const;

/** Without these a receiver could not read it: it would be stored, and become a dead letter everywhere. */
export function faultOfMessage(message: OutgoingMessage['message']): string | undefined {
  if (!isObject(message)) return 'a message is an object';
  const ofId = faultOfId(message.id);
  if (ofId !== undefined) return `the id of a message ${ofId}`;
  for (const name of ['type', 'source'] as const) {
    const fault = faultOfText(message[name]);
    if (fault !== undefined) return `${name} of message ${message.id} ${fault}`;
  }
  for (const name of OPTIONAL_TEXTS) {
    const fault = message[name] === undefined ? undefined : faultOfName(message[name]);
    if (fault !== undefined) return `${name} of message ${message.id} ${fault}, or left out`;
  }
  const { expiresAt, routingKey } = message;
  const ofRoutingKey = routingKey === undefined ? undefined : faultOfRoutingKey(routingKey);
  if (ofRoutingKey !== undefined) return `routingKey of message ${message.id} ${ofRoutingKey}, or left out`;
  if (expiresAt !== undefined && !(typeof expiresAt === 'string' && Number.isFinite(Date.parse(expiresAt))))
    return `expiresAt of message ${message.id} is a time in ISO 8601`;
  return undefined;
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}
