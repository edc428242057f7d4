/**
 * Looks at the file of a `sqlite:` URL before the engine opens it. The engine makes what is missing, which is right for the application that owns the file; of an
 * operator's typo it would make an empty bus, or put its tables into somebody else's database.
 */
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { usage } from './failure.ts';

const SQLITE = 'SQLite format 3\u0000';
const HEADER_BYTES = 100;
/** Where SQLite keeps `user_version`, big-endian; the engine counts its schema there, from 1. */
const USER_VERSION_AT = 60;
const SHOWN_BYTES = 16;

export function refuseOtherFile(url: string, path: string): void {
  const refuse = (what: string, remedy: string): never => {
    throw usage(`--url ${url}: ${what}`, remedy);
  };
  const owner = 'Name the file of the application; it makes the file when it starts.';
  const size = sizeOf(path);
  if (size === undefined) return refuse('there is no such file', owner);
  let header: Buffer;
  try {
    header = headerOf(path);
  } catch (error) {
    return refuse(`it cannot be read: ${(error as Error).message}`, owner);
  }
  // What was not written back yet stands in the log beside the file.
  if ((sizeOf(`${path}-wal`) ?? 0) > 0) return;
  if (header.length === 0) refuse('the file is empty, so it is no bus', owner);
  if (!header.toString('latin1').startsWith(SQLITE))
    refuse(
      `it is no SQLite database: it begins with ${JSON.stringify(header.subarray(0, SHOWN_BYTES).toString('latin1'))}, not with "SQLite format 3"`,
      owner,
    );
  if (header.length < HEADER_BYTES || header.readUInt32BE(USER_VERSION_AT) === 0)
    refuse('it is a SQLite database and no bus: it has no version of our schema', owner);
}

function sizeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.size;
}

function headerOf(path: string): Buffer {
  const file = openSync(path, 'r');
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    return header.subarray(0, readSync(file, header, 0, HEADER_BYTES, 0));
  } finally {
    closeSync(file);
  }
}
