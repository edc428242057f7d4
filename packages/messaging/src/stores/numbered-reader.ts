/**
 * Reads an outbox whose numbers are given in the order of the commits (SQLite: one writer; MariaDB: a counter that is locked until the commit), so that
 * a mark that is one number can never pass a row that commits later.
 */
import { type FreshReader, ROW_COLUMNS, storedRowOf } from './outbox-dialect.ts';
import type { SqlConnection, SqlStatement } from '../sql.ts';

export async function openNumberedReader(connection: SqlConnection): Promise<FreshReader> {
  return {
    async read(limit) {
      const { rows } = await connection.run(
        `SELECT ${ROW_COLUMNS} FROM outbox o
         WHERE o.number > (SELECT published FROM outbox_mark) ORDER BY o.number LIMIT ${limit}`,
      );
      return rows.map(storedRowOf);
    },
    advance: (upTo): readonly SqlStatement[] => [
      { text: 'UPDATE outbox_mark SET published = ? WHERE published < ?', params: [upTo, upTo] },
    ],
    runEnd: (upTo) => (upTo === undefined ? undefined : { sql: '?', value: upTo }),
    committed: () => {},
  };
}
