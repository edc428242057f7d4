/** What the broker refuses when a connection comes back waits by itself: other subscriptions, also of the same channel, go on. The control refuses all of it together. */
import assert from 'node:assert/strict';
import { afterAll, describe, expect, it } from 'vitest';
import Type from 'typebox';
import { type Bus, createBus } from '../../bus.ts';
import { type Channel, defineChannel } from '../../channel.ts';
import { registerControls } from '../../conformance/controls.ts';
import { Collector, eventually, limitPatience } from '../../conformance/fixture.ts';
import type { MessagingError } from '../../errors.ts';
import { ack } from '../../outcome.ts';
import { stallingClock } from '../../testing/stalling-clock.ts';
import {
  inOrder,
  onBroker,
  orders,
  type RabbitFixture,
  rabbitUrl,
  removeLadder,
  withFixture,
} from './conformance-fixture.ts';
import { Declaring } from './declaring.ts';
import type { RabbitNotice } from './options.ts';

const LADDER = 'held-up.';
/** A healthy engine takes a second, and on a machine with other work more than one that waits in vain is given. */
const PATIENCE_MS = 15_000;
const VAIN_MS = 3_000;

const theirs = defineChannel({ name: 'theirs', version: 1, schema: Type.Object({ n: Type.Integer() }) });
const CLASSIC = { durable: true, arguments: { 'x-queue-type': 'classic' } };

interface Refusal {
  /** Subscription that waits, as `channel/name`. */
  readonly waits: string;
  /** Part of what is told. */
  readonly told: string;
  /** While the connection is away. */
  readonly spoil: (prefix: string) => Promise<unknown>;
  readonly putRight: (prefix: string) => Promise<unknown>;
}

const madeClassic = (queue: string): Pick<Refusal, 'spoil' | 'putRight' | 'told'> => ({
  told: queue,
  spoil: (prefix) =>
    onBroker(async (amqp) => {
      await amqp.deleteQueue(`${prefix}${queue}`);
      await amqp.assertQueue(`${prefix}${queue}`, CLASSIC);
    }),
  putRight: (prefix) => onBroker((amqp) => amqp.deleteQueue(`${prefix}${queue}`)),
});

const REFUSALS: Readonly<Record<string, Refusal>> = {
  'a queue with other arguments': { waits: 'orders/two', ...madeClassic('orders/s/two') },
  'a partition with other arguments': { waits: 'in.order/two', ...madeClassic('in.order/s/two/1') },
  'a queue of others that is gone': {
    waits: 'theirs/two',
    told: 'their-queue',
    spoil: (prefix) => onBroker((amqp) => amqp.deleteQueue(`${prefix}their-queue`)),
    putRight: (prefix) => onBroker((amqp) => amqp.assertQueue(`${prefix}their-queue`, CLASSIC)),
  },
};

const ALL = ['orders/one', 'orders/two', 'in.order/one', 'in.order/two', 'theirs/two'];
/** One for each partition. */
const KEYS = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];

/** A message for each subscription, again until all of these have had one of this round. */
async function reaches(
  bus: Bus,
  got: Collector<string>,
  round: number,
  who: readonly string[],
): Promise<void> {
  const tryAll = async (): Promise<void> => {
    const publish = (channel: Channel, key?: string): Promise<unknown> =>
      bus.publish(channel, { n: round }, key === undefined ? {} : { key }).catch((error: MessagingError) => {
        assert.ok(error.retryable || error.code === 'DB_MSG_UNROUTABLE', error);
      });
    await Promise.all([publish(orders), publish(theirs), ...KEYS.map((key) => publish(inOrder, key))]);
  };
  await eventually(
    async () => {
      await tryAll();
      return who.filter((one) => !got.values.includes(`${one} ${round}`));
    },
    ({ length }) => length === 0,
    `message ${round} at ${who.join(', ')}`,
  );
}

async function onlyItWaits(fixture: RabbitFixture, refusal: Refusal, patienceMs: number): Promise<void> {
  const { waits, told, spoil, putRight } = refusal;
  const { clock, stall, letGo } = stallingClock();
  const notices = new Collector<RabbitNotice>();
  const troubles = (): readonly unknown[] =>
    notices.values.flatMap((notice) => (notice.kind === 'trouble' ? [notice.error] : []));
  const got = new Collector<string>();
  const queue = `${fixture.prefix}their-queue`;
  await onBroker((amqp) => amqp.assertQueue(queue, CLASSIC));
  const engine = fixture.engine({
    existing: { theirs: { queue } },
    onNotice: (notice) => notices.add(notice),
  });
  const bus = createBus({ engine, source: '/held', clock });
  bus.declare([orders, inOrder, theirs]);
  await bus.start();
  try {
    for (const one of ALL) {
      const [name = '', subscription = ''] = one.split('/');
      const channel = [orders, inOrder, theirs].find((known) => known.name === name) as typeof orders;
      const handler = ({ data }: { readonly data: { readonly n: number } }) => {
        got.add(`${one} ${data.n}`);
        return ack();
      };
      await bus.subscribe(channel, { name: subscription, handler }).started;
    }
    limitPatience(PATIENCE_MS);
    await reaches(bus, got, 1, ALL);
    // Away until it is let go.
    stall();
    expect(await fixture.breakConnections?.()).toBeGreaterThan(0);
    await eventually(
      async () => notices.values.filter(({ kind }) => kind === 'disconnected').length,
      (count) => count === 2,
      'both connections away',
    );
    await spoil(fixture.prefix);
    letGo();
    limitPatience(patienceMs);
    await reaches(
      bus,
      got,
      2,
      ALL.filter((one) => one !== waits),
    );
    limitPatience(PATIENCE_MS);
    await eventually(
      async () => troubles().length,
      (count) => count >= 4,
      'four troubles',
    );
    expect(troubles()).toContainEqual(
      expect.objectContaining({
        code: 'DB_MSG_INVALID_OPTIONS',
        message: expect.stringContaining(told),
      }),
    );
    await putRight(fixture.prefix);
    await reaches(bus, got, 3, ALL);
    // 50, 100, 200, 400, 800 ms ...: as many as fit into the longest of these waits would be hundreds.
    expect(troubles().length).toBeLessThan(20);
  } finally {
    letGo();
    limitPatience(PATIENCE_MS);
    await bus.stop({ drainMs: 1_000 });
    await onBroker((amqp) => amqp.deleteQueue(queue));
  }
}

const run = (refusal: Refusal, patienceMs: number): Promise<void> =>
  withFixture({ ladderPrefix: LADDER }, (fixture) => onlyItWaits(fixture, refusal, patienceMs));

const caseOf = (what: string): string =>
  `${what}: its subscription waits alone, and is back when it is put right`;

describe.skipIf(rabbitUrl === undefined)(
  'what a connection that comes back is refused (needs RABBITMQ_URL)',
  { timeout: 90_000 },
  () => {
    afterAll(() => removeLadder(LADDER));

    registerControls(
      it,
      'rabbitmq',
      Object.entries(REFUSALS).map(([what, refusal]) => ({
        defect: `what is refused holds up all: ${what}`,
        caughtBy: caseOf(what),
        healthy: () => run(refusal, PATIENCE_MS),
        async defective() {
          const { sound } = Declaring.prototype;
          Declaring.prototype.sound = function (model, topology) {
            return this.all(model, topology);
          };
          try {
            await run(refusal, VAIN_MS);
          } finally {
            Declaring.prototype.sound = sound;
          }
        },
      })),
    );
  },
);
