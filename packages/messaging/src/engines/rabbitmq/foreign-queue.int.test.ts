/** What a confirmation states of places of others: never more than is known of them. The controls take them for ours. */
import assert from 'node:assert/strict';
import { afterAll, describe, expect, it } from 'vitest';
import Type from 'typebox';
import type { Options } from 'amqplib';
import { defineChannel, type Durability } from '../../channel.ts';
import { registerControls } from '../../conformance/controls.ts';
import { Collector, eventually, limitPatience } from '../../conformance/fixture.ts';
import type { Bus } from '../../bus.ts';
import type { MessagingError } from '../../errors.ts';
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

const besides = defineChannel({ name: 'besides', version: 1, schema });

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

/** What a publish states once the connection is back. */
async function statedWhenBack(
  bus: Bus,
  channel: typeof orders | typeof besides,
  n: number,
): Promise<Durability | undefined> {
  const published = await eventually(
    () =>
      bus.publish(channel, { n }, { id: `${channel.name}-${n}` }).catch((error: MessagingError) => {
        if (!error.retryable) throw error;
        return undefined;
      }),
    (found) => found !== undefined,
    `publishing to ${channel.name}`,
  );
  return published?.durability;
}

/** The queue for whose durability the team gave its word is deleted and made again while the connection is used for another channel too. */
async function makeAnewMeanwhile(fixture: RabbitFixture, queue: string): Promise<void> {
  const told: string[] = [];
  const troubles: string[] = [];
  let connections = 0;
  const got = new Collector<string>();
  const engine = fixture.engine({
    existing: { orders: { queue, durable: true } },
    onNotice: (notice) => {
      if (notice.kind === 'lessDurable') told.push(`${notice.channel} at ${notice.queue}`);
      if (notice.kind === 'trouble') troubles.push((notice.error as Error).message);
      if (notice.kind === 'connected' && notice.connection === 'consume') connections += 1;
    },
  });
  /** What is there has been learnt anew by then. A refusal is seen when it is told: what it keeps away would only be waited for in vain. */
  const connectedFor = (times: number): Promise<number> =>
    eventually(
      async () => {
        const refusal = troubles.find((message) => message.includes('`durable`'));
        assert.equal(refusal, undefined, 'a connection that comes back is refused');
        return connections;
      },
      (count) => count >= times,
      'a connection that consumes',
    );
  await withBus(engine, [orders, besides], async (bus) => {
    for (const channel of [orders, besides])
      await bus.subscribe(channel, {
        name: 'one',
        handler: ({ data }) => {
          got.add(`${channel.name}-${data.n}`);
          return ack();
        },
      }).started;
    expect(await statedWhenBack(bus, orders, 1)).toBe('disk');
    await got.waitFor(1);
    await onBroker(async (amqp) => {
      await amqp.deleteQueue(queue);
      await amqp.assertQueue(queue, { durable: false });
    });
    // The second time there is nothing new to tell.
    for (const n of [2, 3]) {
      expect(await fixture.breakConnections?.()).toBeGreaterThan(0);
      await connectedFor(n);
      expect(told).toEqual([`orders at ${queue}`]);
      expect(await statedWhenBack(bus, orders, n)).toBe('memory');
      expect(await statedWhenBack(bus, besides, n)).toBe('disk');
      for (const channel of [orders, besides])
        await eventually(
          async () => got.values,
          (all) => all.includes(`${channel.name}-${n}`),
          `${n} at the subscription of ${channel.name}`,
        );
    }
  });
}

const MADE_ANEW =
  'a queue that is made anew and not durable stops no subscription, and is memory from then on';
const madeAnew = (): Promise<void> => withQueue({ durable: true }, makeAnewMeanwhile);

/** Runs with another way of learning what is there, made of the real one. */
async function learningBy(
  make: (learn: TopologyBook['learnForeign']) => TopologyBook['learnForeign'],
  run: () => Promise<void>,
): Promise<void> {
  const { learnForeign } = TopologyBook.prototype;
  TopologyBook.prototype.learnForeign = make(learnForeign);
  try {
    await run();
  } finally {
    TopologyBook.prototype.learnForeign = learnForeign;
  }
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
    // A healthy engine needs a tenth of it.
    limitPatience(8_000);
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

    it.each([MADE_ANEW])('%s', async () => {
      await expect(madeAnew()).resolves.toBeUndefined();
    });

    it('a queue that is not there is not made by asking', () =>
      onRabbit(async (fixture) => {
        const queue = `${fixture.prefix}not-there`;
        const refusal = { code: 'DB_MSG_INVALID_OPTIONS', message: expect.stringContaining(queue) };
        await expect(startOnDisk(fixture, { queue })).rejects.toMatchObject(refusal);
        await expect(statedAt(fixture, { queue })).rejects.toMatchObject(refusal);
        await expect(onBroker((amqp) => amqp.checkQueue(queue))).rejects.toMatchObject({ code: 404 });
      }));

    registerControls(it, 'rabbitmq', [
      {
        defect: 'a wrong word of the team is refused at each connection',
        caughtBy: MADE_ANEW,
        healthy: madeAnew,
        defective: () =>
          learningBy(
            (learn) =>
              async function (this: TopologyBook, model, spec) {
                await learn.call(this, model, spec);
                this.refuseWrongWord(spec);
              },
            madeAnew,
          ),
      },
      {
        defect: 'what was learnt of a place first stays',
        caughtBy: MADE_ANEW,
        healthy: madeAnew,
        defective: () =>
          learningBy((learn) => {
            let left = 1;
            return async function (this: TopologyBook, model, spec) {
              if (spec.name !== 'orders' || left-- > 0) await learn.call(this, model, spec);
            };
          }, madeAnew),
      },
    ]);

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
