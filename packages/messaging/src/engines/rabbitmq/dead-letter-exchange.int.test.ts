/** What others see of dead letters on an exchange of theirs, beside the dead letters of the toolkit. */
import type { ConsumeMessage } from 'amqplib';
import { afterAll, describe, expect, it } from 'vitest';
import { createBus } from '../../bus.ts';
import { Collector, eventually } from '../../conformance/fixture.ts';
import { deadLetter } from '../../outcome.ts';
import {
  createRabbitFixture,
  onBroker,
  type RabbitFixture,
  rabbitUrl,
  removeLadder,
  orders,
} from './conformance-fixture.ts';
import type { RabbitEngineOptions } from './options.ts';

const LADDER = 'obituaries.';

interface Seen {
  readonly fixture: RabbitFixture;
  readonly exchange: string;
  readonly copies: Collector<ConsumeMessage>;
  /** Publishes one message that becomes a dead letter, and waits for that. */
  readonly fail: (options: Partial<RabbitEngineOptions>) => Promise<void>;
}

async function withWatcher(
  type: 'topic' | 'fanout' | undefined,
  use: (seen: Seen) => Promise<void>,
): Promise<void> {
  const fixture = await createRabbitFixture({ ladderPrefix: LADDER });
  const exchange = `${fixture.prefix}theirs`;
  const copies = new Collector<ConsumeMessage>();
  const fail = async (options: Partial<RabbitEngineOptions>): Promise<void> => {
    const bus = createBus({ engine: fixture.engine(options), source: '/obituaries' });
    bus.declare([orders]);
    bus.subscribe(orders, { name: 'mail', handler: () => deadLetter('no such address') });
    await bus.start();
    try {
      await bus.publish(orders, { n: 7 }, { id: 'order-7' });
      await eventually(
        () => bus.deadLetters.list(),
        (letters) => letters.length === 1,
        'a dead letter',
      );
    } finally {
      await bus.stop({ drainMs: 1_000 });
    }
  };
  try {
    await onBroker(async (amqp) => {
      if (type) {
        await amqp.assertExchange(exchange, type);
        const { queue } = await amqp.assertQueue('', { exclusive: true });
        await amqp.bindQueue(queue, exchange, type === 'topic' ? 'orders.#' : '');
        await amqp.consume(queue, (message) => void (message && copies.add(message)), { noAck: true });
      }
      await use({ fixture, exchange, copies, fail });
      await amqp.deleteExchange(exchange);
    });
  } finally {
    await fixture.destroy();
  }
}

describe.skipIf(rabbitUrl === undefined)(
  'the dead-letter exchange of others (needs RABBITMQ_URL)',
  { timeout: 60_000 },
  () => {
    afterAll(() => removeLadder(LADDER));

    it('gets what became a dead letter as it came, with the headers of a dead-lettered message', () =>
      withWatcher('topic', async ({ fixture, exchange, copies, fail }) => {
        await fail({ deadLetterExchange: { orders: exchange } });
        const [copy] = await copies.waitFor(1);
        expect(JSON.parse(copy?.content.toString() ?? '')).toEqual({ n: 7 });
        expect(copy?.fields.routingKey).toBe('orders.mail');
        expect(copy?.properties.messageId).toBe('order-7');
        const headers = copy?.properties.headers ?? {};
        expect(headers).toMatchObject({
          cloudEvents_type: 'orders',
          'x-first-death-reason': 'rejected',
          'x-first-death-queue': `${fixture.prefix}orders/s/mail`,
          'x-first-death-exchange': `${fixture.prefix}orders`,
          'x-db-channel': 'orders',
          'x-db-subscription': 'mail',
          'x-db-reason': 'no such address',
        });
        expect(headers['x-death']).toMatchObject([
          { reason: 'rejected', queue: `${fixture.prefix}orders/s/mail`, count: 1 },
        ]);
      }));

    it('stays of the type that it has, and is one for all channels where it is one text', () =>
      withWatcher('fanout', async ({ exchange, copies, fail }) => {
        await fail({ deadLetterExchange: exchange });
        expect((await copies.waitFor(1)).length).toBe(1);
      }));

    it('is made when it is not there, and a copy that nobody wants stops no dead letter', () =>
      withWatcher(undefined, async ({ exchange, fail }) => {
        await fail({ deadLetterExchange: exchange });
        await expect(onBroker((amqp) => amqp.checkExchange(exchange))).resolves.toBeDefined();
      }));

    it('gets nothing when it is not asked for (control)', () =>
      withWatcher('topic', async ({ exchange, copies, fail }) => {
        await fail({ deadLetterExchange: { 'another.channel': exchange } });
        // Published after a copy would have been, so it comes behind one.
        await onBroker(async (amqp) => {
          amqp.publish(exchange, 'orders.end', Buffer.from('end'));
          await amqp.waitForConfirms();
        });
        expect((await copies.waitFor(1)).map(({ content }) => content.toString())).toEqual(['end']);
      }));
  },
);
