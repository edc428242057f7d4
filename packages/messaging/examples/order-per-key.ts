/* oxlint-disable no-console -- an example speaks to the person who runs it */
/** Order per key: what is behind a message that fails waits for it, other keys go on, and a redrive replays the sequence. */
import { ack, createBus, deadLetter, defineChannel } from '@doorbuster/messaging';
import { engineFromUrl } from '@doorbuster/messaging/engines/from-url';
import Type from 'typebox';
import { inFolder, until } from './stage.ts';

const accountMoved = defineChannel({
  name: 'account.moved',
  version: 1,
  schema: Type.Object({ cents: Type.Integer() }),
  order: 'key',
  onFailure: 'sequencedDlq',
  requires: { emulation: ['order'] },
});

const bus = createBus({ engine: await engineFromUrl(inFolder('bus.db')), source: '/bank' });
bus.declare([accountMoved]);

let isMended = false;
const booked: string[] = [];
bus.subscribe(accountMoved, {
  name: 'ledger',
  concurrency: 4,
  handler: ({ key, data }) => {
    if (data.cents === 0 && !isMended) return deadLetter('nothing to book');
    booked.push(`${key}:${data.cents}`);
    return ack();
  },
});

await bus.start();
for (const cents of [1, 0, 2]) await bus.publish(accountMoved, { cents }, { key: 'ada' });
await bus.publish(accountMoved, { cents: 7 }, { key: 'bob' });
await until(async () => booked.length === 2 && (await bus.deadLetters.list()).length === 2);
console.log(`booked: ${booked.toSorted().join(' ')}`);
console.log(`parked: ${(await bus.deadLetters.list()).map(({ key }) => key).join(' ')}`);

isMended = true;
await bus.deadLetters.redrive({ key: 'ada' });
await until(async () => booked.length === 4);
console.log(`ada: ${booked.filter((one) => one.startsWith('ada')).join(' ')}`);
await bus.stop();
