/**
 * The character set that a client of MariaDB or MySQL speaks: utf8mb4, or nothing is stored. Ids and keys are kept as bytes, so the same key of two clients is two keys where one
 * of them speaks another set; `latin1` stores `?` for what it has not, and clients write `utf8mb3` beyond U+FFFF as bytes that are no UTF-8.
 *
 * Asked once for each pool, whose connections are made alike; a `SET NAMES` on one of them is not seen.
 */
import { MessagingError } from '../errors.ts';

const sound = new WeakSet<object>();

/** Rejects with DB_MSG_INVALID_OPTIONS. `ask` runs a statement on the pool, or on a connection of its. */
export async function refuseOtherCharset(
  pool: object,
  ask: (text: string) => Promise<{ readonly rows: readonly Readonly<Record<string, unknown>>[] }>,
): Promise<void> {
  if (sound.has(pool)) return;
  const { rows } = await ask('SELECT @@character_set_client AS charset');
  const charset = rows[0]?.['charset'];
  if (charset !== undefined && String(charset) !== 'utf8mb4')
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      `the client of the database speaks ${String(charset)}, in which ids, keys and texts would be stored as other bytes than they are or be lost: give its connections utf8mb4, for mysql2 createPool({ charset: 'utf8mb4' })`,
    );
  sound.add(pool);
}
