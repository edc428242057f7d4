/** Somebody else's messages in the queues that only the toolkit writes: a policy with a dead-letter exchange, a shovel, a person at the management page. */
import { afterAll, describe, expect, it } from 'vitest';
import { topic } from '../../conformance/channels.ts';
import { Collector, eventually } from '../../conformance/fixture.ts';
import { ack, deadLetter } from '../../outcome.ts';
import {
  inOrder,
  onBroker,
  PARTITIONS,
  type RabbitFixture,
  rabbitUrl,
  removeLadder,
  withBus,
  withFixture,
} from './conformance-fixture.ts';

const LADDER = 'foreign.';
const SUBSCRIPTION = 'one';

const put = (queue: string, ...contents: readonly string[]): Promise<void> =>
  onBroker(async (amqp) => {
    await amqp.checkQueue(queue);
    for (const content of contents) amqp.sendToQueue(queue, Buffer.from(content));
    await amqp.waitForConfirms();
  });

/** Starts once, so that everything is declared, and stops. */
async function declaredBy(fixture: RabbitFixture): Promise<void> {
  await withBus(fixture.open(), [inOrder], async (bus) => {
    await bus.subscribe(inOrder, { name: SUBSCRIPTION, handler: () => ack() }).started;
  });
}

const event = JSON.stringify({
  specversion: '1.0',
  id: 'theirs',
  type: inOrder.name,
  source: '/elsewhere',
  partitionkey: 'a',
  data: { n: 7 },
});

describe.skipIf(rabbitUrl === undefined)(
  'contents of others in the queues of the toolkit (needs RABBITMQ_URL)',
  { timeout: 90_000 },
  () => {
    afterAll(() => removeLadder(LADDER));

    it('among the dead letters they stop no key, are listed, and are redriven or discarded', () =>
      withFixture({ ladderPrefix: LADDER }, async (fixture) => {
        await declaredBy(fixture);
        const base = `${fixture.prefix}${inOrder.name}/s/${SUBSCRIPTION}`;
        await put(`${base}/dead`, 'hello', 'hello', '{}', event);
        await withBus(fixture.open(), [inOrder], async (bus) => {
          const got = new Collector<number>();
          const dead = new Collector<number>();
          await bus.subscribe(inOrder, {
            name: SUBSCRIPTION,
            handler: ({ data: { n } }) => {
              if (n === 2) dead.add(n);
              else got.add(n);
              return n === 2 ? deadLetter('no stock') : ack();
            },
          }).started;
          await bus.publish(inOrder, { n: 1 }, { key: 'a' });
          expect(await got.waitFor(1)).toEqual([1]);
          await bus.publish(inOrder, { n: 2 }, { key: 'b' });
          await dead.waitFor(1);

          const of = { channel: inOrder.name, subscription: SUBSCRIPTION };
          const letters = await eventually(
            () => bus.deadLetters.list(of, { limit: 10 }),
            ({ length }) => length === 5,
            'five letters',
          );
          const foreign = letters.filter(({ group }) => group === 'unreadable');
          expect(foreign.map(({ raw }) => raw).slice(0, 3)).toEqual(['hello', 'hello', '{}']);
          expect(foreign.at(-1)).toMatchObject({ messageId: 'theirs', key: 'a' });
          expect(new Set(letters.map(({ id }) => id)).size).toBe(5);
          const paged = await bus.deadLetters.list(of, { limit: 10, after: foreign[1]?.id ?? '' });
          expect(paged.map(({ id }) => id)).toEqual(letters.slice(2).map(({ id }) => id));

          await bus.deadLetters.redrive({ ...of, messageIds: ['theirs'] });
          expect(await got.waitFor(2)).toEqual([1, 7]);
          await bus.deadLetters.discard({ ...of, group: 'unreadable' });
          const left = await bus.deadLetters.list(of, { limit: 10 });
          expect(left.map(({ reason }) => reason)).toEqual(['no stock']);
        });
      }));

    it('among notes and hints they are passed over', () =>
      withFixture({ ladderPrefix: LADDER }, async (fixture) => {
        await declaredBy(fixture);
        const base = `${fixture.prefix}${inOrder.name}/s/${SUBSCRIPTION}/notes`;
        for (let index = 0; index < PARTITIONS; index += 1) await put(`${base}/${index}`, 'hello', '[null]');
        await withBus(fixture.open(), [inOrder], async (bus) => {
          const got = new Collector<number>();
          await bus.subscribe(inOrder, {
            name: SUBSCRIPTION,
            handler: ({ data }) => {
              got.add(data.n);
              return ack();
            },
          }).started;
          await onBroker(async (amqp) => {
            for (const content of ['hello', 'null', '{"kind":"here"}'])
              amqp.publish(`${fixture.prefix}/hints`, '', Buffer.from(content));
            await amqp.waitForConfirms();
          });
          await bus.publish(inOrder, { n: 1 }, { key: 'a' });
          expect(await got.waitFor(1)).toEqual([1]);
        });
      }));

    it('among the records of bindings they are passed over, and what is bound stays', () =>
      withFixture({ ladderPrefix: LADDER }, async (fixture) => {
        const hear = (bindings: readonly string[]): Promise<readonly number[]> => {
          const got = new Collector<number>();
          return withBus(fixture.open(), [topic], async (bus) => {
            await bus.subscribe(topic, {
              name: SUBSCRIPTION,
              bindings,
              handler: ({ data }) => {
                got.add(data.n);
                return ack();
              },
            }).started;
            await bus.publish(topic, { n: 1 }, { routingKey: 'a.b' });
            await got.waitFor(1);
          }).then(() => got.values);
        };
        await hear(['a.*']);
        await put(`${fixture.prefix}${topic.name}/s/${SUBSCRIPTION}/bindings`, 'hello', '{}', '[5]');
        expect(await hear(['a.*'])).toEqual([1]);
        expect(await hear(['a.#'])).toEqual([1]);
      }));
  },
);
