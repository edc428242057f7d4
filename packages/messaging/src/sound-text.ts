/**
 * What a text has to be to be told apart everywhere. A lone surrogate has no UTF-8: each client and each database writes another thing in its place, so that two
 * keys become one on one engine, stay two on the next and are refused by a third. PostgreSQL cannot hold U+0000 at all. Asked before anything is stored or
 * looked up, for all engines alike.
 */
import { MessagingError } from './errors.ts';

/** What is wrong with a name (an id, a key) that has to be there, as the end of a sentence; undefined: nothing. */
export function faultOfText(value: unknown): string | undefined {
  if (typeof value !== 'string' || value === '') return 'is a text that is not empty';
  return faultOfName(value);
}

/** The same for a name that may be empty. */
export function faultOfName(value: unknown): string | undefined {
  return faultOfForm(value) ?? ((value as string).includes('\0') ? 'is a text without U+0000' : undefined);
}

/** The same for what is only handed on inside of a message, as the value of a header is: there U+0000 is written as JSON does it. */
export function faultOfForm(value: unknown): string | undefined {
  if (typeof value !== 'string') return 'is a text';
  return value.isWellFormed() ? undefined : 'is a text without lone surrogates';
}

/** What AMQP's message-id and the tables of the inbox and the outbox have room for. */
const ID_BYTES = 255;
/** What AMQP allows. */
const ROUTING_KEY_BYTES = 255;

/** What is wrong with the id of a message. */
export function faultOfId(value: unknown): string | undefined {
  return faultOfText(value) ?? faultOfLength(value as string, ID_BYTES);
}

/** What is wrong with a routing key, which may be empty. */
export function faultOfRoutingKey(value: unknown): string | undefined {
  return faultOfName(value) ?? faultOfLength(value as string, ROUTING_KEY_BYTES);
}

function faultOfLength(text: string, most: number): string | undefined {
  // No unit of a text takes more than three bytes, and most texts are far from the bound.
  const isShort = text.length * 3 <= most;
  return isShort || Buffer.byteLength(text) <= most ? undefined : `has at most ${most} bytes`;
}

/**
 * For what is looked up by names: throws DB_MSG_INVALID_OPTIONS. Nothing is stored under such a one, but one database refuses the question in words of its own and the next looks
 * for another name. `what` begins the sentence.
 */
export function refuseBadNames(what: string, names: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(names)) {
    const fault = faultOfName(value);
    if (fault !== undefined) throw new MessagingError('DB_MSG_INVALID_OPTIONS', `${what}: ${name} ${fault}`);
  }
}

/** The name that can be used in place of one that others sent. */
export function soundName(text: string): string {
  return text.toWellFormed().replaceAll('\0', '\ufffd');
}
