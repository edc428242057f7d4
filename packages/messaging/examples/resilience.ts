/* oxlint-disable no-console -- an example speaks to the person who runs it */
/** A provider that breaks: the circuit breaker puts messages off instead of burning their attempts, and the rate cap keeps its limit. */
import {
  ack,
  breakered,
  createBus,
  createCircuitBreaker,
  createRateCap,
  rateCapped,
  systemClock,
} from '@doorbuster/messaging';
import { engineFromUrl } from '@doorbuster/messaging/engines/from-url';
import { mailWanted } from './channels.ts';
import { inFolder, until } from './stage.ts';

const bus = createBus({ engine: await engineFromUrl(inFolder('bus.db')), source: '/shop' });
bus.declare([mailWanted]);

const cap = createRateCap({ clock: systemClock, permits: 200, burst: 5 });
const breaker = createCircuitBreaker({ clock: systemClock, minimumCalls: 3, openMs: 50 });

let isDown = true;
let sent = 0;
bus.subscribe(mailWanted, {
  name: 'postman',
  retries: { immediate: 0, delayed: [10, 10, 10, 10, 10] },
  middleware: [rateCapped(cap), breakered(breaker)],
  handler: () => {
    if (isDown) throw new Error('the provider is down');
    sent += 1;
    return ack();
  },
});

await bus.start();
await bus.publishBatch(
  mailWanted,
  ['ada', 'bob', 'eve'].map((to) => ({ data: { to, text: 'hello' } })),
);
await until(async () => breaker.state === 'open');
console.log('the breaker is open');
isDown = false;
await until(async () => sent === 3);
console.log(`${sent} sent, ${(await bus.deadLetters.list()).length} dead letters`);
await bus.stop();
