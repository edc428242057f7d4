/**
 * Below which transaction nothing can still appear in this database. `pg_snapshot_xmin` says it for the whole server, because transactions are numbered there: a load or an index
 * build in a database that has nothing to do with this one would hold a reader back for as long as it takes.
 *
 * So one that has not ended counts unless it is proven to be another database's. A connection stays in its database, and whoever has a transaction's number holds a lock on it until
 * the end. Asked in this order, which the LATERAL keeps: the snapshot, then the processes of other databases, then the locks. Who holds the lock at the end had
 * the number at the beginning, so it is the process that was listed in between, and none that came later with its number. Whatever is not found counts.
 *
 * No role needs rights for it: `pg_locks`, and process and database in `pg_stat_activity`, are shown to everybody.
 */

/** Outside of a transaction: in one, `pg_stat_activity` may show what was there at its first look. */
const ELSEWHERE = `
    SELECT held.transactionid
    FROM (SELECT array_agg(a.pid) AS pids FROM pg_stat_activity a WHERE a.datname <> current_database()) AS others,
      LATERAL (SELECT l.transactionid FROM pg_locks l
        WHERE l.pid = ANY (others.pids) AND l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted OFFSET 0) AS held
    UNION ALL
    SELECT p.transaction FROM pg_prepared_xacts p WHERE p.database <> current_database()`;

/**
 * SQL, a scalar of type xid8: every transaction below it that could write here has ended. It looks through the server's locks; `pg_snapshot_xmin`, which is never above it, costs
 * nothing and comes first.
 */
export const LOCAL_XMIN = `coalesce(
  (SELECT open.xid FROM pg_snapshot_xip(pg_current_snapshot()) AS open (xid)
   WHERE open.xid::xid NOT IN (${ELSEWHERE})
   ORDER BY open.xid LIMIT 1),
  pg_snapshot_xmax(pg_current_snapshot()))`;
