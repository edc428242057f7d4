/** Where the host of a file listens: beside it, so that who may not enter the folder may not connect. */
import { mkdirSync, realpathSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { MessagingError } from '../../../errors.ts';

/** What a socket's address holds on every system, its closing zero included. */
const LONGEST_BYTES = 103;

/** The same for all who name the same file, through links too. Throws DB_MSG_INVALID_OPTIONS when no address can be that long. */
export function socketPathOf(file: string): string {
  mkdirSync(dirname(file), { recursive: true });
  const path = `${resolved(file)}.sock`;
  const fromHere = relative('', path);
  const shortest = Buffer.byteLength(fromHere) < Buffer.byteLength(path) ? fromHere : path;
  if (Buffer.byteLength(shortest) <= LONGEST_BYTES) return shortest;
  throw new MessagingError(
    'DB_MSG_INVALID_OPTIONS',
    `share needs a shorter path: a socket beside the file may have ${LONGEST_BYTES} bytes, "${path}" has more`,
  );
}

function resolved(file: string): string {
  try {
    return realpathSync(file);
  } catch {
    // Not made yet.
    return join(realpathSync(dirname(file)), basename(file));
  }
}
