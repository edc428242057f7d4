/** Partitions shared out between processes: fairly, taken over when one dies, and with the order of every key kept through all of it. */
import { connect } from 'amqplib';
import { afterAll, describe, expect, it } from 'vitest';
import Type from 'typebox';
import { type Bus, createBus } from '../../bus.ts';
import { defineChannel } from '../../channel.ts';
import { Collector, eventually } from '../../conformance/fixture.ts';
import { type CancelTimer, type Clock, systemClock } from '../../clock.ts';
import { ack } from '../../outcome.ts';
import {
  createRabbitFixture,
  onBroker,
  type RabbitFixture,
  rabbitUrl,
  removeLadder,
} from './conformance-fixture.ts';
import { createCutter, type Cutter } from './cutter.ts';
import type { RabbitNotice } from './options.ts';

const LADDER = 'sharing.';
const PARTITIONS = 8;
/** As `members.ts` has it. */
const PING_MS = 1_000;
const KEYS = Array.from({ length: 24 }, (_, index) => `key ${index}`);
const inOrder = defineChannel({
  name: 'in.order',
  version: 1,
  schema: Type.Object({ n: Type.Integer() }),
  order: 'key',
  requires: { emulation: ['order'] },
});

/** One turn of the event loop, so that handlers overlap. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface Seen {
  readonly by: string;
  readonly key: string;
  readonly n: number;
}

/** Where those who ask each second whether the others are there never get to it, unless they are let. */
class HeldPings implements Clock {
  readonly #held = new Set<() => void>();
  now = systemClock.now;
  monotonic = systemClock.monotonic;

  setTimer(ms: number, fire: () => void): CancelTimer {
    if (ms !== PING_MS) return systemClock.setTimer(ms, fire);
    this.#held.add(fire);
    return () => this.#held.delete(fire);
  }

  release(): void {
    for (const fire of this.#held) fire();
  }
}

/** A process as the broker sees one: an engine with connections of its own, through a door of its own. */
interface Process {
  readonly bus: Bus;
  readonly cutter: Cutter;
  /** The queue of its last will. */
  readonly will: () => string;
}

class Group {
  readonly got = new Collector<Seen>();
  readonly #fixture: RabbitFixture;
  readonly #processes = new Map<string, Process>();

  constructor(fixture: RabbitFixture) {
    this.#fixture = fixture;
  }

  async join(by: string, clock: Clock = systemClock): Promise<void> {
    const cutter = await createCutter(rabbitUrl ?? '');
    let will = '';
    const onNotice = (notice: RabbitNotice): void => {
      if (notice.kind === 'declared' && notice.name.includes('/will/')) will = notice.name;
    };
    const bus = createBus({
      engine: this.#fixture.engine({ url: cutter.url, partitions: PARTITIONS, onNotice }),
      source: '/sharing',
      clock,
    });
    bus.declare([inOrder]);
    await bus.start();
    this.#processes.set(by, { bus, cutter, will: () => will });
    await bus.subscribe(inOrder, {
      name: 'one',
      concurrency: 4,
      handler: async ({ key = '', data }) => {
        await turn();
        this.got.add({ by, key, n: data.n });
        return ack();
      },
    }).started;
  }

  async leave(by: string): Promise<void> {
    const { bus, cutter } = this.#processes.get(by) as Process;
    this.#processes.delete(by);
    await bus.stop({ drainMs: 5_000 });
    await cutter.close();
  }

  /** Its connections end without a word and nobody answers there again. */
  async die(by: string): Promise<void> {
    await (this.#processes.get(by) as Process).cutter.close();
  }

  will(by: string): string {
    return (this.#processes.get(by) as Process).will();
  }

  /** Consumers of the subscription that this one knows of. */
  async known(by: string): Promise<number> {
    const { channels } = await (this.#processes.get(by) as Process).bus.view();
    return channels[0]?.subscriptions[0]?.consumers ?? 0;
  }

  publish(from: string, n: number): Promise<unknown> {
    const { bus } = this.#processes.get(from) as Process;
    return bus.publishBatch(
      inOrder,
      KEYS.map((key) => ({ data: { n }, options: { key } })),
    );
  }

  async end(): Promise<void> {
    for (const by of this.#processes.keys()) await this.leave(by);
  }

  async allSeen(upTo: number): Promise<void> {
    await eventually(
      async () => new Set(this.got.values.map(({ key, n }) => `${key} ${n}`)).size,
      (count) => count === KEYS.length * (upTo + 1),
      `${upTo + 1} messages of every key`,
    );
  }

  /** How many partitions each has read since `from`; told by the keys, of which there are enough to be in all partitions. */
  keysBy(from: number): Map<string, number> {
    const keys = new Map<string, Set<string>>();
    for (const { by, key, n } of this.got.values)
      if (n >= from) keys.set(by, (keys.get(by) ?? new Set()).add(key));
    return new Map([...keys].map(([by, { size }]) => [by, size]));
  }

  /** Keys whose messages came first in another order, or not all; repeats are allowed. */
  outOfOrder(upTo: number): readonly string[] {
    const wanted = Array.from({ length: upTo + 1 }, (_, n) => n).join();
    return KEYS.filter((key) => {
      const mine = this.got.values.filter((one) => one.key === key).map(({ n }) => n);
      return [...new Set(mine)].join() !== wanted;
    });
  }
}

async function withGroup(use: (group: Group, fixture: RabbitFixture) => Promise<void>): Promise<void> {
  const fixture = await createRabbitFixture({ ladderPrefix: LADDER });
  const group = new Group(fixture);
  try {
    await use(group, fixture);
  } finally {
    await group.end();
    await fixture.destroy();
  }
}

/** Every partition has one reader when all members agree. */
function agreed(fixture: RabbitFixture): Promise<unknown> {
  return onBroker((amqp) =>
    eventually(
      async () => {
        const counts: number[] = [];
        for (let index = 0; index < PARTITIONS; index += 1)
          counts.push((await amqp.checkQueue(`${fixture.prefix}in.order/s/one/${index}`)).consumerCount);
        return counts;
      },
      (counts) => counts.every((count) => count === 1),
      'one consumer for each partition',
    ),
  );
}

async function isThere(queue: string): Promise<boolean> {
  try {
    await onBroker((amqp) => amqp.checkQueue(queue));
    return true;
  } catch (error) {
    if ((error as { code?: unknown }).code !== 404) throw error;
    return false;
  }
}

async function gone(queue: string): Promise<void> {
  await eventually(
    () => isThere(queue),
    (there) => !there,
    `${queue} is gone`,
  );
}

describe.skipIf(rabbitUrl === undefined)(
  'partitions between processes (needs RABBITMQ_URL)',
  { timeout: 60_000 },
  () => {
    afterAll(() => removeLadder(LADDER));

    it('three share fairly; each that joins or leaves under load moves partitions, and no key loses its order', () =>
      withGroup(async (group, fixture) => {
        let n = 0;
        const load = async (rounds: number): Promise<void> => {
          for (let round = 0; round < rounds; round += 1) await group.publish('a', n++);
        };
        await group.join('a');
        await load(20);
        const joining = group.join('b');
        await load(20);
        await joining;
        const third = group.join('c');
        await load(20);
        await third;
        await agreed(fixture);
        await group.allSeen(n - 1);
        // The third may be in and have nothing yet: each partition has one reader before the move too.
        const from = n;
        await eventually(
          async () => {
            await load(1);
            return [...group.keysBy(from).keys()].toSorted().join();
          },
          (by) => by === 'a,b,c',
          'partitions for all three',
        );
        await group.allSeen(n - 1);

        const leaving = group.leave('b');
        await load(30);
        await leaving;
        await group.allSeen(n - 1);
        expect(group.outOfOrder(n - 1)).toEqual([]);
      }));

    it('a channel that closes gives all back in order; a consumer that is cancelled first lets the next one have what follows (control)', () =>
      withGroup(async (_, fixture) => {
        const seenByNext = (cancelsFirst: boolean): Promise<readonly string[]> =>
          onBroker(async (amqp) => {
            const queue = `${fixture.prefix}handed-over`;
            await amqp.assertQueue(queue, {
              arguments: {
                'x-queue-type': 'quorum',
                'x-delivery-limit': 1_000_000,
                'x-single-active-consumer': true,
              },
            });
            const publish = async (...texts: readonly string[]): Promise<void> => {
              for (const text of texts) amqp.sendToQueue(queue, Buffer.from(text));
              await amqp.waitForConfirms();
            };
            await publish('1', '2', '3');
            const model = await connect(rabbitUrl ?? '');
            const first = await model.createChannel();
            const held = new Collector<string>();
            const { consumerTag } = await first.consume(queue, (message) =>
              held.add(message?.content.toString() ?? ''),
            );
            await held.waitFor(3);
            const next = new Collector<string>();
            await amqp.consume(queue, (message) => next.add(message?.content.toString() ?? ''));
            if (cancelsFirst) {
              await first.cancel(consumerTag);
              await publish('4');
              await next.waitFor(1);
            } else await publish('4');
            await first.close();
            await model.close();
            const order = [...(await next.waitFor(4))];
            await amqp.deleteQueue(queue);
            return order;
          });
        expect(await seenByNext(false)).toEqual(['1', '2', '3', '4']);
        expect(await seenByNext(true)).toEqual(['4', '1', '2', '3']);
      }));

    it('what a dead process had is taken over, and no key loses its order', () =>
      withGroup(async (group, fixture) => {
        for (const by of ['a', 'b', 'c']) await group.join(by);
        await agreed(fixture);
        let n = 0;
        for (; n < 20; n += 1) await group.publish('a', n);
        await group.die('c');
        for (; n < 60; n += 1) await group.publish('a', n);
        await group.allSeen(n - 1);
        await agreed(fixture);
        expect(group.outOfOrder(n - 1)).toEqual([]);
      }));

    it('the broker tells of a dead process by its last will: nobody has to ask', () =>
      withGroup(async (group, fixture) => {
        await group.join('a', new HeldPings());
        await group.join('b');
        await agreed(fixture);
        expect(await group.known('a')).toBe(2);
        await group.die('b');
        await eventually(
          () => group.known('a'),
          (count) => count === 1,
          'a knows that b is gone',
        );
        for (let n = 0; n < 5; n += 1) await group.publish('a', n);
        await group.allSeen(4);
      }));

    it('without its will only the next question tells (control)', () =>
      withGroup(async (group, fixture) => {
        const clock = new HeldPings();
        await group.join('a', clock);
        await group.join('b');
        await agreed(fixture);
        const will = group.will('b');
        await onBroker((amqp) => amqp.deleteQueue(will));
        await group.die('b');
        await gone(will.split('/will/')[1] ?? '');
        for (let n = 0; n < 20; n += 1) await group.publish('a', n);
        expect(await group.known('a')).toBe(2);
        clock.release();
        await group.allSeen(19);
        expect(await group.known('a')).toBe(1);
      }));

    it('who stops in order leaves no will behind', () =>
      withGroup(async (group) => {
        await group.join('a');
        const will = group.will('a');
        expect(await isThere(will)).toBe(true);
        await group.leave('a');
        expect(await isThere(will)).toBe(false);
      }));
  },
);
