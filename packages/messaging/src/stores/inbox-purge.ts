/** Forgetting handled ids by age, the same on every database: the oldest first, in runs, and noting up to when a subscription has forgotten. */
import { COUNT, refuseBadNumbers, TIME } from '../sound-numbers.ts';
import { refuseBadNames } from '../sound-text.ts';
import { placeholders, type SqlConnection, type SqlDatabase } from '../sql.ts';

const RUN = 1_000;

export interface InboxPurge {
  readonly subscription: string;
  /** ms since the epoch: ids handled before it are forgotten. Keep them longer than a message can live: all retries, and the wait of a dead letter. */
  readonly before: number;
  /** Default 10,000. */
  readonly limit?: number;
}

/** Returns how many were forgotten; `limit` of them means that there may be more. */
export async function purgeSqlInbox(
  database: SqlDatabase,
  purge: InboxPurge,
  messageId = 'message_id',
): Promise<number> {
  const { subscription, before, limit = 10_000 } = purge;
  refuseBadNames('a purge of an inbox', { subscription });
  refuseBadNumbers('a purge of an inbox', { before, limit }, { before: TIME, limit: COUNT });
  const connection = await database.connect();
  try {
    let forgotten = 0;
    while (forgotten < limit) {
      const run = Math.min(RUN, limit - forgotten);
      const count = await purgeRun(connection, purge, run, messageId);
      forgotten += count;
      if (count < run) break;
    }
    return forgotten;
  } finally {
    await connection.release();
  }
}

async function purgeRun(
  connection: SqlConnection,
  { subscription, before }: InboxPurge,
  limit: number,
  messageId: string,
): Promise<number> {
  const { rows } = await connection.run(
    `SELECT ${messageId} AS id, handled_at FROM inbox
     WHERE subscription = ? AND handled_at < ? ORDER BY handled_at LIMIT ${limit}`,
    [subscription, before],
  );
  if (rows.length === 0) return 0;
  const ids = rows.map(({ id }) => String(id));
  const keptSince = Math.max(...rows.map((row) => Number(row.handled_at))) + 1;
  await connection.batch([
    {
      text: 'DELETE FROM inbox_mark WHERE subscription = ? AND kept_since < ?',
      params: [subscription, keptSince],
    },
    {
      text: `INSERT INTO inbox_mark (subscription, kept_since)
            SELECT ?, ${keptSince} FROM (SELECT 1 AS one) AS new
            WHERE NOT EXISTS (SELECT 1 FROM inbox_mark WHERE subscription = ?)`,
      params: [subscription, subscription],
    },
    {
      text: `DELETE FROM inbox WHERE subscription = ? AND message_id IN (${placeholders(ids.length)})`,
      params: [subscription, ...ids],
    },
  ]);
  return rows.length;
}
