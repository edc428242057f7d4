/** What a confirmation states of places of others: never more than is known of them. The controls take them for ours. */
import { afterAll, describe, expect, it } from 'vitest';
import Type from 'typebox';
import type { Options } from 'amqplib';
import { defineChannel, type Durability } from '../../channel.ts';
import { registerControls } from '../../conformance/controls.ts';
import { ack } from '../../outcome.ts';
import {
  onBroker,
  orders,
  type RabbitFixture,
  rabbitUrl,
  removeLadder,
  withBus,
  withFixture,
} from './conformance-fixture.ts';
import type { ExistingPlace } from './names.ts';
import { TopologyBook } from './topology.ts';

const LADDER = 'foreign-queue.';
const schema = Type.Object({ n: Type.Integer() });
const onDisk = defineChannel({ name: 'orders', version: 1, schema, requires: { confirm: 'disk' } });

const onRabbit = (use: (fixture: RabbitFixture) => Promise<void>): Promise<void> =>
  withFixture({ ladderPrefix: LADDER }, use);

/** What a publish to that place states. */
async function statedAt(fixture: RabbitFixture, place: ExistingPlace): Promise<Durability | undefined> {
  let durability: Durability | undefined;
  await withBus(fixture.engine({ existing: { orders: place } }), [orders], async (bus) => {
    await bus.subscribe(orders, { name: 'one', handler: () => ack() }).started;
    ({ durability } = await bus.publish(orders, { n: 1 }));
  });
  return durability;
}

async function assertStated(
  fixture: RabbitFixture,
  place: ExistingPlace,
  durability: Durability,
): Promise<void> {
  expect(await statedAt(fixture, place)).toBe(durability);
}

const startOnDisk = (fixture: RabbitFixture, place: ExistingPlace): Promise<void> =>
  withBus(fixture.engine({ existing: { orders: place } }), [onDisk], async () => {});

async function withQueue(
  options: Options.AssertQueue,
  use: (fixture: RabbitFixture, queue: string) => Promise<void>,
): Promise<void> {
  await onRabbit(async (fixture) => {
    const queue = `${fixture.prefix}their-queue`;
    await onBroker((amqp) => amqp.assertQueue(queue, options));
    try {
      await use(fixture, queue);
    } finally {
      await onBroker((amqp) => amqp.deleteQueue(queue));
    }
  });
}

async function refusesDisk(fixture: RabbitFixture, place: ExistingPlace, named: string): Promise<void> {
  await expect(startOnDisk(fixture, place)).rejects.toMatchObject({
    code: 'DB_MSG_UNSUPPORTED_CAPABILITY',
    unmet: [
      { channel: 'orders', feature: 'confirm', asked: 'disk', available: `memory at the ${named} of others` },
    ],
  });
}

const cases = {
  'a queue that is not durable is stated as memory, and who requires disk is refused': () =>
    withQueue({ durable: false }, async (fixture, queue) => {
      await assertStated(fixture, { queue }, 'memory');
      await refusesDisk(fixture, { queue }, `queue "${queue}"`);
    }),
  'an exchange is stated as memory, whatever it is, unless the team vouches for what hangs on it': () =>
    onRabbit(async (fixture) => {
      const exchange = `${fixture.prefix}their-exchange`;
      await onBroker((amqp) => amqp.assertExchange(exchange, 'fanout', { durable: true }));
      try {
        await assertStated(fixture, { exchange }, 'memory');
        await refusesDisk(fixture, { exchange }, `exchange "${exchange}"`);
        await assertStated(fixture, { exchange, durable: true }, 'disk');
        await startOnDisk(fixture, { exchange, durable: true });
      } finally {
        await onBroker((amqp) => amqp.deleteExchange(exchange));
      }
    }),
} as const;

describe.skipIf(rabbitUrl === undefined)(
  'the durability of places of others (needs RABBITMQ_URL)',
  { timeout: 60_000 },
  () => {
    afterAll(() => removeLadder(LADDER));

    it.each(Object.entries(cases))('%s', async (_, run) => {
      await expect(run()).resolves.toBeUndefined();
    });

    it.each<[string, Options.AssertQueue]>([
      ['classic', { durable: true, arguments: { 'x-max-length': 100 } }],
      ['quorum', { durable: true, arguments: { 'x-queue-type': 'quorum' } }],
    ])(
      'a durable queue, %s, is stated as disk without a word of the team, and may be required',
      (_, options) =>
        withQueue(options, async (fixture, queue) => {
          expect(await statedAt(fixture, { queue })).toBe('disk');
          await startOnDisk(fixture, { queue });
        }),
    );

    it('the word of the team is not taken against that of the broker', () =>
      withQueue({ durable: false }, async (fixture, queue) => {
        await expect(statedAt(fixture, { queue, durable: true })).rejects.toMatchObject({
          code: 'DB_MSG_INVALID_OPTIONS',
          message: expect.stringContaining(queue),
        });
      }));

    it('a queue that is not there is not made by asking', () =>
      onRabbit(async (fixture) => {
        const queue = `${fixture.prefix}not-there`;
        const refusal = { code: 'DB_MSG_INVALID_OPTIONS', message: expect.stringContaining(queue) };
        await expect(startOnDisk(fixture, { queue })).rejects.toMatchObject(refusal);
        await expect(statedAt(fixture, { queue })).rejects.toMatchObject(refusal);
        await expect(onBroker((amqp) => amqp.checkQueue(queue))).rejects.toMatchObject({ code: 404 });
      }));

    registerControls(
      it,
      'rabbitmq',
      (Object.keys(cases) as (keyof typeof cases)[]).map((caughtBy) => ({
        defect: `places of others count as durable: ${caughtBy.split(' ')[1]}`,
        caughtBy,
        healthy: cases[caughtBy],
        async defective() {
          const { isOnDisk } = TopologyBook.prototype;
          TopologyBook.prototype.isOnDisk = ({ ephemeral }) => !ephemeral;
          try {
            await cases[caughtBy]();
          } finally {
            TopologyBook.prototype.isOnDisk = isOnDisk;
          }
        },
      })),
    );
  },
);
