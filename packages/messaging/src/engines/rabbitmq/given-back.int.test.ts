/** The order of a partition that was read and given back by several, one after the other; the control is a consumer that is lent another number than all are. */
import { connect } from 'amqplib';
import { afterAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../clock.ts';
import { Collector, signal } from '../../conformance/fixture.ts';
import { ack } from '../../outcome.ts';
import { browse } from './browse.ts';
import {
  inOrder,
  onBroker,
  type RabbitFixture,
  rabbitUrl,
  removeLadder,
  withBus,
  withFixture,
} from './conformance-fixture.ts';
import { KEY_WINDOW } from './given-back.ts';

const LADDER = 'given.back.';
const NAME = 'one';
/** More than anybody here is lent. */
const COUNT = 700;
const numbers = Array.from({ length: COUNT }, (_, n) => n);

/** Reads a part of the partition and gives it back. */
type Reader = (fixture: RabbitFixture) => Promise<void>;

const engineOf = (fixture: RabbitFixture) => fixture.engine({ partitions: 1 });

/** Its only partition. */
const queueOf = ({ prefix }: RabbitFixture): string => `${prefix}${inOrder.name}/s/${NAME}/0`;

/** Begins with the first message and is stopped before it has handled it. */
const stopped =
  (concurrency: number): Reader =>
  (fixture) =>
    withBus(engineOf(fixture), [inOrder], async (bus) => {
      const begun = signal();
      await bus.subscribe(inOrder, {
        name: NAME,
        concurrency,
        handler: async (_message, { signal: ended }) => {
          begun.fire();
          await new Promise<void>((resolve) => ended.addEventListener('abort', () => resolve()));
          throw new Error('the process ends');
        },
      }).started;
      await begun.fired;
    });

const peeking =
  (limit: number): Reader =>
  (fixture) =>
    withBus(engineOf(fixture), [inOrder], async (bus) => {
      const [first] = await bus.peek(inOrder, NAME, limit);
      expect(first?.message?.data).toEqual({ n: 0 });
    });

/** A consumer that is lent so many. */
const bare =
  (lent: number): Reader =>
  (fixture) =>
    onBroker(async (channel) => {
      const taken = new Collector<unknown>();
      await channel.prefetch(lent);
      await channel.consume(queueOf(fixture), (message) => taken.add(message));
      await taken.waitFor(lent);
    });

/** What the partition holds, in its order, after these have read it one after the other. */
async function orderAfter(readers: readonly Reader[]): Promise<readonly number[]> {
  let held: readonly number[] = [];
  await withFixture({ ladderPrefix: LADDER }, async (fixture) => {
    await withBus(engineOf(fixture), [inOrder], async (bus) => {
      await bus.subscribe(inOrder, { name: NAME, handler: () => ack() }).started;
    });
    await withBus(engineOf(fixture), [inOrder], (bus) =>
      bus
        .publishBatch(
          inOrder,
          numbers.map((n) => ({ data: { n }, options: { key: 'k' } })),
        )
        .then(() => {}),
    );
    for (const read of readers) await read(fixture);
    const model = await connect(rabbitUrl ?? '');
    try {
      const looked = { model, clock: systemClock, queue: queueOf(fixture), prefetch: COUNT };
      held = await browse(looked, async ({ messages }) =>
        messages.map(({ content }) => JSON.parse(content.toString()).n as number),
      );
    } finally {
      await model.close();
    }
  });
  return held;
}

describe.skipIf(!rabbitUrl)('what was given back (needs RABBITMQ_URL)', { timeout: 60_000 }, () => {
  afterAll(() => removeLadder(LADDER));

  it.each([
    ['a look at a few, after a consumer that was stopped', [stopped(1), peeking(5)]],
    ['a look at many, and a consumer that is stopped', [peeking(600), stopped(1)]],
    ['a consumer of many, and one of few', [stopped(300), stopped(1), stopped(300)]],
  ])('stays in order: %s', async (_what, readers) => {
    expect(await orderAfter(readers)).toEqual(numbers);
  });

  it('who has more concurrency than it is lent goes on all the same', () =>
    withFixture({ ladderPrefix: LADDER }, (fixture) =>
      withBus(engineOf(fixture), [inOrder], async (bus) => {
        const handled = new Collector<number>();
        const begun = new Collector<number>();
        const handler = async ({ data }: { readonly data: { readonly n: number } }) => {
          begun.add(data.n);
          await begun.waitFor(KEY_WINDOW);
          handled.add(data.n);
          return ack();
        };
        await bus.subscribe(inOrder, { name: NAME, concurrency: 300, handler }).started;
        await bus.publishBatch(
          inOrder,
          numbers.map((n) => ({ data: { n }, options: { key: String(n) } })),
        );
        expect((await handled.waitFor(COUNT)).toSorted((a, b) => a - b)).toEqual(numbers);
      }),
    ));

  it.each([
    ['a look at a few, after a consumer that was stopped', [stopped(1), bare(5)]],
    ['a look at many, and a consumer that is stopped', [bare(600), stopped(1)]],
  ])('does not when each is lent what it asks for (control): %s', async (_what, readers) => {
    const held = await orderAfter(readers);
    expect(held).not.toEqual(numbers);
    expect(held.toSorted((a, b) => a - b)).toEqual(numbers);
  });
});
