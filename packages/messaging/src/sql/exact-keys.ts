/**
 * Keys that are compared as they are, on MariaDB and MySQL. `utf8mb4_bin` tells `a` from `A`, but pads with spaces before it compares: `a` and `a ` are one key to it. The collations
 * that do not pad have another name on each server, so keys are kept as bytes, as ids are.
 *
 * Tables that were made before are changed in place, once: the bytes stay. What padding had made one is one row, and cannot be told apart any more.
 */
import { again, placeholders, type SqlDatabase } from '../sql.ts';

/** Columns of a table, by its name. */
export type KeyColumns = Readonly<Record<string, readonly string[]>>;

/** The type of a key of so many characters. */
export const exactKey = (characters: number): string => `VARBINARY(${characters * 4})`;

/** After the tables are there. On the other databases, and where the columns are bytes already, it only looks. */
export async function makeKeysExact(
  sql: SqlDatabase,
  columns: KeyColumns,
  characters: number,
): Promise<void> {
  if (sql.dialect !== 'mariadb') return;
  const tables = Object.keys(columns);
  const { rows } = await sql.run(
    `SELECT TABLE_NAME AS name, COLUMN_NAME AS part FROM information_schema.COLUMNS
     WHERE TABLE_SCHEMA = DATABASE() AND DATA_TYPE <> 'varbinary' AND TABLE_NAME IN (${placeholders(tables.length)})`,
    tables,
  );
  for (const table of tables) {
    const padded = rows
      .filter(({ name, part }) => name === table && columns[table]?.includes(String(part)))
      .map(({ part }) => `MODIFY ${String(part)} ${exactKey(characters)} NOT NULL`);
    if (padded.length > 0) await again(() => sql.run(`ALTER TABLE ${table} ${padded.join(', ')}`));
  }
}
