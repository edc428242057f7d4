/**
 * A worker process of the tests: one consumer of a keyed channel on a shared file, that appends a line for each message it has handled.
 * Arguments: the file of the bus and the file of the lines. Appending is what orders the lines of several workers.
 */
import { appendFileSync } from 'node:fs';
import { createBus } from '../../../bus.ts';
import { pause, systemClock } from '../../../clock.ts';
import { sequenced } from '../../../conformance/channels.ts';
import { ack } from '../../../outcome.ts';
import { createEmbeddedEngine } from '../engine.ts';

const [path = '', lines = ''] = process.argv.slice(2);
const bus = createBus({ engine: createEmbeddedEngine({ path, share: true }), source: '/worker' });
bus.declare([sequenced]);
bus.subscribe(sequenced, {
  name: 'workers',
  concurrency: 4,
  leaseMs: 1_000,
  handler: async ({ key, data }) => {
    await pause(systemClock, 2);
    appendFileSync(lines, `${key} ${data.n}\n`);
    return ack();
  },
});
await bus.start();
process.stdout.write('ready\n');
