/** What the broker says when it refuses, in the words of the catalogue. */
import { MessagingError } from '../../errors.ts';
import { unreachable } from './link.ts';

const NOT_FOUND = 404;
const PRECONDITION_FAILED = 406;
/** It is there and comes back: the words are all by which a durable classic queue of a dead node differs from one that was never made. */
const NODE_DOWN = /home node .* is down or inaccessible/;

export function asMessagingError(error: unknown): Error {
  if (error instanceof MessagingError) return error;
  const { code, message } = error as { code?: unknown; message: string };
  if (code === PRECONDITION_FAILED)
    return new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      `the broker has it with other settings: ${message}. Use the settings it was made with; deleting it there deletes what waits in it`,
      { cause: error },
    );
  if (code === NOT_FOUND && !NODE_DOWN.test(message))
    return new MessagingError('DB_MSG_INVALID_OPTIONS', `what was to be there is not: ${message}`, {
      cause: error,
    });
  return unreachable(`the broker refused or is gone: ${message}`, error);
}

/** What was asked for is not there, whatever words were put around the broker's. */
export function isMissing(error: unknown): boolean {
  for (let one = error; one instanceof Error; one = one.cause)
    if ((one as { code?: unknown }).code === NOT_FOUND) return !NODE_DOWN.test(one.message);
  return false;
}
