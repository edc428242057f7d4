/* oxlint-disable no-console -- an example speaks to the person who runs it */
/** Ask and answer: the reply has a contract too, and a request nobody answers ends in time. */
import { createBus, reply } from '@doorbuster/messaging';
import { engineFromUrl } from '@doorbuster/messaging/engines/from-url';
import { priceAsked } from './channels.ts';
import { inFolder } from './stage.ts';

const bus = createBus({ engine: await engineFromUrl(inFolder('bus.db')), source: '/shop' });
bus.declare([priceAsked]);
const prices: Readonly<Record<string, number>> = { pen: 120 };

await bus.start();
const { code } = await bus.request(priceAsked, { sku: 'pen' }, { timeoutMs: 30 }).catch((error) => error);
console.log(`without an answer: ${code}`);

const answering = bus.subscribe(priceAsked, {
  name: 'prices',
  handler: ({ data }) => reply({ cents: prices[data.sku] ?? 0 }),
});
await answering.started;
const { cents } = await bus.request(priceAsked, { sku: 'pen' }, { timeoutMs: 5_000 });
console.log(`a pen costs ${cents}`);
await bus.stop();
