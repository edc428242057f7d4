/* oxlint-disable no-console -- an example speaks to the person who runs it */
/** Retries, a dead letter, and its redrive after the cause is mended. */
import { ack, createBus, deadLetter, defineChannel, retry, snooze } from '@doorbuster/messaging';
import { engineFromUrl } from '@doorbuster/messaging/engines/from-url';
import Type from 'typebox';
import { inFolder, until } from './stage.ts';

const mailWanted = defineChannel({
  name: 'mail.wanted',
  version: 1,
  schema: Type.Object({ to: Type.String() }),
});

const bus = createBus({ engine: await engineFromUrl(inFolder('bus.db')), source: '/shop' });
bus.declare([mailWanted]);

/** What the mail server does just now. */
let server: 'busy' | 'closed' | 'fine' = 'busy';
const sent: string[] = [];

bus.subscribe(mailWanted, {
  name: 'postman',
  // At once, then 20 ms later; then it is a dead letter.
  retries: { immediate: 1, delayed: [20], jitter: 0 },
  handler: ({ data }, { attempt, redrive }) => {
    if (!data.to.includes('@')) return deadLetter('no such address');
    if (server === 'closed') return snooze(20);
    console.log(`attempt ${attempt}${redrive ? ' after a redrive' : ''}: the server is ${server}`);
    if (server === 'busy') return retry({ reason: 'the mail server is busy' });
    sent.push(data.to);
    return ack();
  },
});

await bus.start();
await bus.publish(mailWanted, { to: 'nowhere' });
await bus.publish(mailWanted, { to: 'ada@example.org' });
await until(async () => (await bus.deadLetters.list()).length === 2);
for (const { group, count } of await bus.deadLetters.groups()) console.log(`${count} x ${group}`);

server = 'fine';
const { moved } = await bus.deadLetters.redrive({ group: 'retry: the mail server is busy' });
await until(async () => sent.length === 1);
console.log(`${moved} redriven, sent to ${sent.join()}`);
await bus.stop();
