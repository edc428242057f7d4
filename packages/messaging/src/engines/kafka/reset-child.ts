/** One who asks a server that resets what authenticates, in a process of its own, which an error that nobody hears would end: `node reset-child.ts URL WHO`. Prints the code of the refusal. */
import { Base } from '@platformatic/kafka';
import { systemClock } from '../../clock.ts';
import { createKafkaEngine } from './engine.ts';
import { clientOptions } from './link.ts';
import { settingsOf } from './options.ts';
import { Publisher } from './publisher.ts';
import { loneMembership } from './testing/lone-membership.ts';

const [, , url = '', who = ''] = process.argv;
const options = {
  url,
  sasl: { mechanism: 'PLAIN', username: 'one', password: 'secret' },
  requestTimeoutMs: 500,
} as const;
const settings = settingsOf(options);

const asking: Readonly<Record<string, () => Promise<unknown>>> = {
  connect: () => createKafkaEngine(options).connect({ clock: systemClock, onFatal: () => {} }),
  publish() {
    const parcel = { key: undefined, value: Buffer.from('{}'), headers: [] };
    return new Publisher(settings, systemClock, 2 ** 20).send('t', [{ partition: 0, parcel }]);
  },
  join: () => loneMembership(settings, systemClock).join(),
  /** The control: a client as it comes. */
  bare: () => new Base(clientOptions(settings)).metadata({ topics: [] }),
};

try {
  await asking[who]?.();
} catch (error) {
  // The second error comes after the answer at times: the process ends by itself, when nothing of the client is left.
  process.stdout.write(`${(error as { readonly code?: string }).code}\n`);
}
