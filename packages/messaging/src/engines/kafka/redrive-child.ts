/**
 * A process that is made to be killed in the middle of a redrive: it tells `copied` when the first step's messages are stored, and never comes to end their letters.
 * Argument: that of `openEngine`.
 */
import { writeSync } from 'node:fs';
import { createBus } from '../../bus.ts';
import { plain } from '../../conformance/channels.ts';
import { openEngine } from './conformance-fixture.ts';
import { replace } from './own-defects.ts';
import { type Item, Publisher } from './publisher.ts';

replace(
  Publisher.prototype,
  'send',
  (original) =>
    async function (this: Publisher, topic: string, items: readonly Item[]) {
      const offsets = await original.call(this, topic, items);
      if (!topic.endsWith('-L')) return offsets;
      writeSync(1, `copied ${items.length}\n`);
      return new Promise(() => {});
    },
);

const bus = createBus({ engine: openEngine(process.argv[2] ?? ''), source: '/redrive' });
bus.declare([plain]);
await bus.start();
writeSync(1, 'ready\n');
await bus.deadLetters.redrive({});
