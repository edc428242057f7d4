/**
 * What AMQP 0-9-1 can carry as a short text (ids, routing keys, names of queues): at most 255 bytes of UTF-8. amqplib throws on a longer one half
 * way through a call, which leaves its channel waiting for an answer to what was never sent; and half of a surrogate pair would arrive as
 * another text. So both are refused before anything is sent, and for good: no retry makes them fit.
 */
import { MessagingError } from '../../errors.ts';

const SHORT_TEXT_BYTES = 255;
/** UTF-8 takes up to three bytes for a UTF-16 unit: what is shorter than this need not be measured. */
const SURELY_SHORT = SHORT_TEXT_BYTES / 3;

/** Throws DB_MSG_INVALID_OPTIONS. Types refuse what is no text already; JavaScript does not. */
export function refuseUnfit(what: string, text: string): void {
  refuseIllFormed(what, text);
  if (text.length > SURELY_SHORT && Buffer.byteLength(text) > SHORT_TEXT_BYTES)
    throw unfit(
      `${what} takes ${Buffer.byteLength(text)} bytes; AMQP carries ${SHORT_TEXT_BYTES} (it begins with "${text.slice(0, 40)}")`,
    );
}

/** For texts of any length. Throws DB_MSG_INVALID_OPTIONS. */
export function refuseIllFormed(what: string, text: string): void {
  if (typeof text !== 'string') throw unfit(`${what} has to be a text, not ${typeof text}`);
  if (!text.isWellFormed()) throw unfit(`${what} holds half of a surrogate pair, which UTF-8 cannot say`);
}

export function unfit(detail: string, cause?: unknown): MessagingError {
  return new MessagingError('DB_MSG_INVALID_OPTIONS', detail, cause === undefined ? {} : { cause });
}
