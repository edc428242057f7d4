/**
 * Messages that were made elsewhere (by an outbox, by hand), looked at before they go to an engine: types refuse what is refused here, JavaScript does not. Those that
 * the bus makes are sound by their making. Each answers with what is wrong, or undefined.
 */
import type { OutgoingMessage } from './engine.ts';

export function faultOfOutgoing(outgoing: OutgoingMessage): string | undefined {
  if (!isObject(outgoing)) return 'a message to publish is an object with its channel';
  const { message, dueAt, priority } = outgoing;
  const fault = faultOfMessage(message);
  if (fault !== undefined) return fault;
  if (dueAt !== undefined && !Number.isFinite(dueAt))
    return `dueAt of message ${message.id} is ms since the epoch`;
  if (priority !== undefined && !(Number.isSafeInteger(priority) && priority >= 0))
    return `priority of message ${message.id} is a whole number from 0`;
  return undefined;
}

/** Without these a receiver could not read it: it would be stored, and become a dead letter everywhere. */
export function faultOfMessage(message: OutgoingMessage['message']): string | undefined {
  if (!isObject(message)) return 'a message is an object';
  if (!isFullText(message.id)) return 'the id of a message is a text that is not empty';
  if (!isFullText(message.type)) return `type of message ${message.id} is a text that is not empty`;
  if (!isFullText(message.source)) return `source of message ${message.id} is a text that is not empty`;
  const { expiresAt } = message;
  if (expiresAt !== undefined && !(typeof expiresAt === 'string' && Number.isFinite(Date.parse(expiresAt))))
    return `expiresAt of message ${message.id} is a time in ISO 8601`;
  return undefined;
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}

function isFullText(value: unknown): boolean {
  return typeof value === 'string' && value !== '';
}
