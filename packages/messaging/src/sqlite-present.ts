/** Before `node:sqlite` is imported: on an old Node that fails with words that do not say what to do. */
import { isBuiltin } from 'node:module';
import { MessagingError } from './errors.ts';

/** Throws DB_MSG_PEER_MISSING, naming the Node to install, where `node:sqlite` is not there. The arguments are for tests. */
export function refuseWithoutSqlite(
  what: string,
  has: (module: string) => boolean = isBuiltin,
  version: string = process.version,
): void {
  if (has('node:sqlite')) return;
  throw new MessagingError(
    'DB_MSG_PEER_MISSING',
    `${what} needs Node 24 or newer, which has node:sqlite; this is Node ${version}`,
  );
}
