/** A process that is made to be killed: a relay that owns the outbox and tells each row it has published. Arguments: address of the store. */
import { writeSync } from 'node:fs';
import { systemClock } from '../clock.ts';
import { createKeyedRelay } from '../keyed-relay.ts';
import { openSqlStore } from './open.ts';

const { outbox } = await openSqlStore(process.argv[2] ?? '');
createKeyedRelay({
  outbox,
  clock: systemClock,
  sweepMs: 20,
  batchSize: 1,
  bus: {
    forward: async (rows) => {
      // Straight to the descriptor: what was told must be out before a kill can come.
      for (const { message } of rows) writeSync(1, `${message.key} ${(message.data as { n: number }).n}\n`);
      return [];
    },
  },
}).start();
