/* oxlint-disable no-console -- an example speaks to the person who runs it */
/** A handler that works far longer than its lease: the bus beats for it, and tells it when somebody else will do the work or the process ends. */
import { ack, createBus, defineChannel, pause, retry, systemClock } from '@doorbuster/messaging';
import { engineFromUrl } from '@doorbuster/messaging/engines/from-url';
import Type from 'typebox';
import { inFolder } from './stage.ts';

const reportWanted = defineChannel({
  name: 'report.wanted',
  version: 1,
  schema: Type.Object({ pages: Type.Integer() }),
});

const bus = createBus({ engine: await engineFromUrl(inFolder('bus.db')), source: '/reports' });
bus.declare([reportWanted]);
const done = Promise.withResolvers<void>();

bus.subscribe(reportWanted, {
  name: 'printer',
  leaseMs: 90,
  handler: async ({ data }, { attempt, signal }) => {
    for (let page = 1; page <= data.pages; page += 1) {
      if (signal.aborted) return retry({ reason: `stopped at page ${page}` });
      await pause(systemClock, 30, signal);
    }
    console.log(`${data.pages} pages in attempt ${attempt}`);
    done.resolve();
    return ack();
  },
});

await bus.start();
await bus.publish(reportWanted, { pages: 10 });
await done.promise;
await bus.stop({ drainMs: 1_000 });
