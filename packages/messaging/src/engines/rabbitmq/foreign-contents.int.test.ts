/** Somebody else's messages in the queues that only the toolkit writes: a policy with a dead-letter exchange, a shovel, a person at the management page. */
import { afterAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../clock.ts';
import { topic } from '../../conformance/channels.ts';
import { registerControls } from '../../conformance/controls.ts';
import { Collector, eventually } from '../../conformance/fixture.ts';
import type { Delivery } from '../../engine.ts';
import type { Message } from '../../message.ts';
import { ack, deadLetter } from '../../outcome.ts';
import { specOf } from '../../specs.ts';
import {
  inOrder,
  onBroker,
  orders,
  PARTITIONS,
  type RabbitFixture,
  rabbitUrl,
  removeLadder,
  withBus,
  withFixture,
} from './conformance-fixture.ts';
import { partitionOf } from './names.ts';

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

const AMONG_RECORDS = 'among the records of bindings they are passed over, and what is bound stays';

const message: Message = {
  id: 'm',
  type: topic.name,
  version: 1,
  source: '/s',
  time: '',
  data: { n: 1 },
  headers: {},
  routingKey: 'a.b',
};

/** What the subscription gets of one message. Without bindings those on record are meant: a bus always gives them, a tool that only looks does not. */
async function heardBy(fixture: RabbitFixture, bindings?: readonly string[]): Promise<readonly unknown[]> {
  const of = { channel: topic.name, name: SUBSCRIPTION };
  const connection = await fixture.open().connect({ clock: systemClock, onFatal: () => {} });
  try {
    const subscriptions = [{ ...of, ...(bindings && { bindings }) }];
    await connection.declare({ channels: [specOf(topic)], subscriptions });
    const got = new Collector<Delivery>();
    const consumer = await connection.subscribe(
      { channel: of.channel, subscription: of.name, prefetch: 10, leaseMs: 30_000 },
      (deliveries) => deliveries.forEach((one) => got.add(one)),
    );
    await connection.publish([{ channel: of.channel, message }]);
    const settlements = (await got.waitFor(1)).map(({ token }) => ({ kind: 'ack', token }) as const);
    await consumer.settle(settlements);
    return got.values.map((one) => one.message?.data);
  } finally {
    await connection.close();
  }
}

/** They are the last there when somebody asks for what is on record; bindings that are given would be bound again, whatever was read. */
const amongRecords = (...contents: readonly string[]): Promise<void> =>
  withFixture({ ladderPrefix: LADDER }, async (fixture) => {
    const record = `${fixture.prefix}${topic.name}/s/${SUBSCRIPTION}/bindings`;
    await heardBy(fixture, ['a.*']);
    await put(record, ...contents);
    expect(await heardBy(fixture)).toEqual([{ n: 1 }]);
    expect(await heardBy(fixture, ['a.#'])).toEqual([{ n: 1 }]);
    await put(record, ...contents);
    expect(await heardBy(fixture)).toEqual([{ n: 1 }]);
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

    it.each([inOrder, orders])(
      'in the headers of a message they end nobody: a state is a dead letter, the rest is passed over ($name)',
      (channel) =>
        withFixture({ ladderPrefix: LADDER }, async (fixture) => {
          await withBus(fixture.open(), [channel], async (bus) => {
            const got = new Collector<number>();
            await bus.subscribe(channel, {
              name: SUBSCRIPTION,
              handler: ({ data: { n } }) => {
                got.add(n);
                return ack();
              },
            }).started;
            const headers = ['due', 'abandoned', 'turn', 'redrive', 'redriven', 'state'].map(
              (one) => `x-db-${one}`,
            );
            // Neither a number nor a text can be made of it when it has been read.
            const table = { toString: 'a', valueOf: 'b' };
            await onBroker(async (amqp) => {
              for (const [n, name] of headers.entries()) {
                const content = JSON.stringify({
                  ...JSON.parse(event),
                  type: channel.name,
                  id: name,
                  data: { n },
                });
                const routingKey = channel === inOrder ? String(partitionOf('a', PARTITIONS)) : '';
                const exchange = `${fixture.prefix}${channel.name}`;
                amqp.publish(exchange, routingKey, Buffer.from(content), { headers: { [name]: table } });
              }
              await amqp.waitForConfirms();
            });
            expect(await got.waitFor(5)).toEqual([0, 1, 2, 3, 4]);
            const letters = await eventually(
              () =>
                bus.deadLetters.list({ channel: channel.name, subscription: SUBSCRIPTION }, { limit: 10 }),
              ({ length }) => length === 1,
              'the letter',
            );
            expect(letters).toMatchObject([
              { messageId: 'x-db-state', reason: expect.stringMatching(/^the state beside/) },
            ]);
          });
        }),
    );

    it('headers that the client reads and cannot write are carried on as texts: tried again, set aside, redriven, and sent round until they are due', () =>
      withFixture({ ladderPrefix: LADDER }, async (fixture) => {
        await withBus(fixture.open(), [orders], async (bus) => {
          const got = new Collector<string>();
          let begun = false;
          let handledAt = 0;
          await bus.subscribe(orders, {
            name: SUBSCRIPTION,
            retries: { immediate: 0, delayed: [50] },
            handler: ({ id }) => {
              handledAt = systemClock.now();
              got.add(id);
              if (!begun) throw new Error('not yet');
              return ack();
            },
          }).started;
          const publish = (id: string, own: object): Promise<void> =>
            onBroker(async (amqp) => {
              const content = JSON.stringify({ ...JSON.parse(event), type: orders.name, id });
              // As somebody else's client writes them: a number below all integers, a table that has the client's own word for a type.
              const headers = {
                ...own,
                theirs: { '!': 'double', value: -1e300 },
                more: [{ '!': 'object', value: { '!': 'weather' } }],
              };
              amqp.publish(`${fixture.prefix}${orders.name}`, '', Buffer.from(content), { headers });
              await amqp.waitForConfirms();
            });
          await publish('a', {});
          expect(await got.waitFor(2)).toEqual(['a', 'a']);
          const of = { channel: orders.name, subscription: SUBSCRIPTION };
          await eventually(
            () => bus.deadLetters.list(of, { limit: 10 }),
            ({ length }) => length === 1,
            'the letter',
          );
          begun = true;
          await bus.deadLetters.redrive(of);
          expect(await got.waitFor(3)).toEqual(['a', 'a', 'a']);
          const dueAt = systemClock.now() + 1_000;
          await publish('b', { 'x-db-due': String(dueAt) });
          expect(await got.waitFor(4)).toEqual(['a', 'a', 'a', 'b']);
          expect(handledAt).toBeGreaterThanOrEqual(dueAt);
        });
      }));

    it.each([AMONG_RECORDS])('%s', async () => {
      await expect(amongRecords('hello', '{}', '[5]')).resolves.toBeUndefined();
    });

    // What garbage read as "nothing is bound" would come to: a record that says so.
    registerControls(it, 'rabbitmq', [
      {
        defect: 'what is no record of bindings says that nothing is bound',
        caughtBy: AMONG_RECORDS,
        healthy: () => amongRecords('hello', '{}', '[5]'),
        defective: () => amongRecords('[]'),
      },
    ]);
  },
);
