/** The limit of an engine for one encoded message, in bytes of UTF-8, and the one way to say that a message is above it. */
import { MessagingError } from './errors.ts';

/** Throws DB_MSG_MESSAGE_TOO_LARGE. */
export function refuseAbove(maxMessageBytes: number, bytes: number, messageId: string): void {
  if (bytes > maxMessageBytes)
    throw new MessagingError(
      'DB_MSG_MESSAGE_TOO_LARGE',
      `message ${messageId} takes ${bytes} bytes; ${maxMessageBytes} are allowed`,
    );
}

/** A character takes three bytes at most, so most texts need not be counted. */
export function isAbove(maxMessageBytes: number, text: string): boolean {
  return text.length * 3 > maxMessageBytes && Buffer.byteLength(text) > maxMessageBytes;
}
