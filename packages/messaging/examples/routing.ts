/* oxlint-disable no-console -- an example speaks to the person who runs it */
/** Three channels, each routed in its own way: subscriptions name by bindings what they want of it. */
import { ack, createBus, defineChannel } from '@doorbuster/messaging';
import { engineFromUrl } from '@doorbuster/messaging/engines/from-url';
import Type from 'typebox';
import { inFolder, until } from './stage.ts';

const schema = Type.Object({ text: Type.String() });
const logWritten = defineChannel({ name: 'log.written', version: 1, schema, requires: { routing: 'topic' } });
const jobWanted = defineChannel({ name: 'job.wanted', version: 1, schema, requires: { routing: 'direct' } });
const parcelSent = defineChannel({
  name: 'parcel.sent',
  version: 1,
  schema,
  requires: { routing: 'headers' },
});

const got: string[] = [];
const noting = (name: string) => ({
  name,
  handler: ({ data }: { readonly data: { readonly text: string } }) => {
    got.push(`${name}: ${data.text}`);
    return ack();
  },
});

const bus = createBus({ engine: await engineFromUrl(inFolder('bus.db')), source: '/app' });
bus.declare([logWritten, jobWanted, parcelSent]);

bus.subscribe(logWritten, { ...noting('alarm'), bindings: ['*.error', 'disk.#'] });
bus.subscribe(jobWanted, { ...noting('resizer'), bindings: ['resize'] });
bus.subscribe(parcelSent, {
  ...noting('north-express'),
  bindings: [{ match: 'all', headers: { region: 'north', speed: 'express' } }],
});

await bus.start();
await bus.publish(logWritten, { text: 'no answer' }, { routingKey: 'shop.error' });
await bus.publish(logWritten, { text: 'nearly full' }, { routingKey: 'disk.one.warning' });
await bus.publish(jobWanted, { text: 'a.png' }, { routingKey: 'resize' });
await bus.publish(parcelSent, { text: 'P-1' }, { headers: { region: 'north', speed: 'express' } });

await until(async () => got.length === 4);
for (const one of got.toSorted()) console.log(one);
await bus.stop();
