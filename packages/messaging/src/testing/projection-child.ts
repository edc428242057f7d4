/**
 * A projection that is made to be killed. Arguments: the address of a database, a point, and `together` or `apart`. It adds every event to a total, two at a time, and kills
 * itself when it comes to the point for the second time. `apart` is the defect: the checkpoint is committed in a transaction of its own.
 */
import { createProjection } from '../streams/projection.ts';
import { createSqlStreamStore } from '../streams/sql-stream-store.ts';
import type { SqlRunner } from '../sql.ts';
import { openSqlStore } from '../stores/open.ts';

export const projectionPoints = ['before handle', 'in handle', 'before commit', 'after commit'] as const;
export type ProjectionPoint = (typeof projectionPoints)[number];

const [argument = '', point = '', how = ''] = process.argv.slice(2);
if (argument !== '') await run();

async function run(): Promise<void> {
  let visits = 0;
  const at = (here: ProjectionPoint): void => {
    if (here === point && (visits += 1) === 2) process.kill(process.pid, 'SIGKILL');
  };
  const { sql } = await openSqlStore(argument);
  const streams = createSqlStreamStore({ sql });
  const add = (tx: SqlRunner, n: number) => tx.run('UPDATE totals SET total = total + ?', [n]);
  let batches = 0;
  if (how === 'together')
    await createProjection({
      name: 'total',
      version: 1,
      streams,
      sql,
      batchSize: 2,
      async handle(tx, events) {
        if ((batches += 1) > 1) at('after commit');
        at('before handle');
        await add(tx, 1);
        at('in handle');
        if (events.length > 1) await add(tx, events.length - 1);
        at('before commit');
      },
    }).catchUp();
  else
    for (;;) {
      const { rows } = await sql.run("SELECT checkpoint FROM projections WHERE name = 'total'");
      const from = String(rows[0]?.['checkpoint'] ?? '');
      const events = await streams.readAll(from === '' ? undefined : from, 2);
      const last = events.at(-1);
      if (!last) break;
      await sql.transaction(async (tx) => void (await add(tx, events.length)));
      at('before commit');
      await sql.run("UPDATE projections SET checkpoint = ? WHERE name = 'total'", [last.checkpoint]);
    }
  process.exit(0);
}
