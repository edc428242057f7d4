/** A process that is made to be killed: it does the work of a message, says so, and never commits. Arguments: address, kind, where the id is noted. */
import { writeSync } from 'node:fs';
import { pause, systemClock } from '../clock.ts';
import { handleOnce } from '../handle-once.ts';
import { run, type StoreKind } from './fixture.ts';
import { openSqlStore } from './open.ts';

const [address = '', kind = '', mode = ''] = process.argv.slice(2);
const { inbox } = await openSqlStore(address);
const options = { inbox, subscription: 'mail', message: { id: 'm1' }, clock: systemClock };

async function work(tx: unknown): Promise<void> {
  await run(kind as StoreKind, tx, 'INSERT INTO effects (n) VALUES (1)');
  writeSync(1, 'worked\n');
  // A timer keeps the process until it is killed.
  await pause(systemClock, 600_000);
}

if (mode === 'inside') await handleOnce({ ...options, work });
else {
  // The defect: the id is noted, and committed, before the work.
  await handleOnce({ ...options, work: async () => {} });
  await inbox.transaction(work);
}
