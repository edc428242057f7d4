/** The outbox on MariaDB and MySQL: numbers in the order of the commits (`append.ts`), and a named lock that one relay holds on its connection. */
import type { OutboxStore } from '../../outbox-store.ts';
import { openNumberedReader } from '../numbered-reader.ts';
import type { OutboxDialect } from '../outbox-dialect.ts';
import { type MariadbPool, mariadbSql } from '../../sql/mariadb.ts';
import { sqlOutbox } from '../sql-outbox.ts';

/** Named locks belong to the server, so the database is in the name; hashed, because MySQL takes 64 characters. */
const LOCK = `CONCAT('doorbuster.outbox.', MD5(DATABASE()))`;

export const mariadbDialect: OutboxDialect = {
  messageId: 'CONVERT(o.message_id USING utf8mb4)',
  recordedAt: 'o.recorded_at',
  messageIdIn: (list) => `o.message_id IN (${list})`,
  isPassed: 'o.number <= m.published',
  isInRun: 'o.number <= r.up_to',
  async lock(connection) {
    const { rows } = await connection.run(`SELECT GET_LOCK(${LOCK}, 0) AS taken`);
    return Number(rows[0]?.taken) === 1;
  },
  async unlock(connection) {
    await connection.run(`SELECT RELEASE_LOCK(${LOCK})`);
  },
  openReader: openNumberedReader,
};

/** The outbox in the pool's database. The relay takes one connection out of the pool and keeps it. */
export function mariadbOutbox(pool: MariadbPool): OutboxStore {
  return sqlOutbox(mariadbSql(pool), mariadbDialect);
}
