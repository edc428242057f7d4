/** A queue that lies beside a partition (its dead letters, its notes) is deleted by mistake: it is declared again, and the partition goes on. */
import { afterAll, describe, expect, it } from 'vitest';
import { Collector } from '../../conformance/fixture.ts';
import { ack, retry } from '../../outcome.ts';
import { blocking, onBroker, rabbitUrl, removeLadder, withBus, withFixture } from './conformance-fixture.ts';

const LADDER = 'gone-beside.';
const PARTITIONS = 8;

const NOTES = Array.from({ length: PARTITIONS }, (_, partition) => `notes/${partition}`);

describe.skipIf(rabbitUrl === undefined)('a queue beside a partition (needs RABBITMQ_URL)', () => {
  afterAll(() => removeLadder(LADDER));

  // Before the first message of a partition its reader looks at the dead letters, and a retry in its place is noted.
  it.each([
    ['of its dead letters', ['dead']],
    ['of its notes', NOTES],
    ['of both', ['dead', ...NOTES]],
  ])(
    '%s, deleted by mistake, keeps no message from its handler and no retry from its place',
    async (_, queues) =>
      withFixture({ ladderPrefix: LADDER }, (fixture) =>
        withBus(fixture.engine(), [blocking], async (bus) => {
          const attempts = new Collector<string>();
          await bus.subscribe(blocking, {
            name: 'one',
            handler: ({ data }, { attempt }) => {
              attempts.add(`${data.n} attempt ${attempt}`);
              return attempt === 1 ? retry({ delayMs: 1 }) : ack();
            },
          }).started;
          await onBroker(async (amqp) => {
            for (const queue of queues) await amqp.deleteQueue(`${fixture.prefix}blocking/s/one/${queue}`);
          });
          await bus.publish(blocking, { n: 1 }, { key: 'k' });
          await bus.publish(blocking, { n: 2 }, { key: 'k' });
          expect(await attempts.waitFor(4)).toEqual([
            '1 attempt 1',
            '1 attempt 2',
            '2 attempt 1',
            '2 attempt 2',
          ]);
        }),
      ),
  );
});
