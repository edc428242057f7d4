/**
 * The file that a `sqlite:` URL means, asked of one place by whoever takes such a URL: engines, stores and `doorbuster-bus`. Read in two ways, an address would be
 * two files, one of them empty.
 *
 *   sqlite:./bus.db   sqlite:///var/bus.db?share=true   sqlite:./half%20price.db
 */
import { MessagingError } from './errors.ts';

export interface SqliteUrl {
  /** Decoded; '' where none is named. */
  readonly path: string;
  /** Behind the question mark, as it stands there. */
  readonly query: string;
}

/** Throws DB_MSG_INVALID_OPTIONS for a `%` that is not one of a URL's escapes. */
export function readSqliteUrl(url: string): SqliteUrl {
  const [, written = '', query = ''] = /^sqlite:(?:\/\/)?([^?]*)\??(.*)$/s.exec(url) ?? [];
  try {
    return { path: decodeURIComponent(written), query };
  } catch {
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      `the path of sqlite:${written} has a % that is no escape: write %25 for it`,
    );
  }
}
