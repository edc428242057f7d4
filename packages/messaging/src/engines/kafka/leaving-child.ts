/**
 * A process whose bus is stopped while its member joins its group anew, and that then has nothing left to do: it tells `stopped` when the stop is over, and ends by itself
 * when nothing keeps it. Argument: that of `openEngine`.
 */
import { writeSync } from 'node:fs';
import { Consumer } from '@platformatic/kafka';
import { createBus } from '../../bus.ts';
import { plain } from '../../conformance/channels.ts';
import { ack } from '../../outcome.ts';
import { openEngine } from './conformance-fixture.ts';
import { Membership } from './membership.ts';
import { replace } from './own-defects.ts';

const members: Membership[] = [];
const putBack = replace(
  Membership.prototype,
  'join',
  (original) =>
    async function (this: Membership) {
      members.push(this);
      await original.call(this);
    },
);

const bus = createBus({ engine: openEngine(process.argv[2] ?? ''), source: '/leaving' });
bus.declare([plain]);
bus.subscribe(plain, { name: 'one', handler: () => ack() });
await bus.start();
putBack();
writeSync(1, 'ready\n');
const joining = Promise.withResolvers<void>();
replace(
  Consumer.prototype,
  'joinGroup',
  (original) =>
    function (this: Consumer, ...args: Parameters<typeof original>) {
      joining.resolve();
      return original.apply(this, args);
    } as typeof original,
);
for (const one of members) one.renew();
await joining.promise;
await bus.stop();
writeSync(1, 'stopped\n');
