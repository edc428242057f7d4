/** Contracts of zod and of valibot, as a service writes them: what they transform, and what they refuse on both sides. What AsyncAPI shows of them is in asyncapi/. */
import { DatabaseSync } from 'node:sqlite';
import Type from 'typebox';
import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type Bus, createBus, type Subscription } from './bus.ts';
import { type Channel, defineChannel } from './channel.ts';
import { Collector, eventually, settleIn } from './conformance/fixture.ts';
import { createInProcessEngine } from './engines/embedded/engine.ts';
import { ack } from './outcome.ts';

/** What travels, and what handlers get. */
interface Placed {
  readonly orderId: string;
  readonly at: string;
}
interface Made {
  readonly orderId: string;
  readonly at: Date;
}

const name = 'order.placed';
const ofZod = defineChannel({
  name,
  version: 1,
  schema: z.object({
    orderId: z.string().min(1),
    at: z.iso.datetime().transform((text) => new Date(text)),
  }),
});
const ofValibot = defineChannel({
  name,
  version: 1,
  schema: v.object({
    orderId: v.pipe(v.string(), v.minLength(1)),
    at: v.pipe(
      v.string(),
      v.isoTimestamp(),
      v.transform((text) => new Date(text)),
    ),
  }),
});
/** The same channel, as a publisher has it that asks for less. */
const lax = defineChannel({
  name,
  version: 1,
  schema: Type.Object({ orderId: Type.String(), at: Type.String() }),
});

interface Library {
  readonly channel: Channel;
  readonly publish: (bus: Bus, data: Placed) => Promise<unknown>;
  readonly subscribe: (bus: Bus, handled: Collector<Made>) => Subscription;
}

/** Each by itself, so that the compiler sees what a service of that library sees. */
const libraries: readonly [string, Library][] = [
  [
    'zod',
    {
      channel: ofZod,
      publish: (bus, data) => bus.publish(ofZod, data),
      subscribe: (bus, handled) =>
        bus.subscribe(ofZod, {
          name: 'mailer',
          handler: ({ data }) => {
            handled.add(data);
            return ack();
          },
        }),
    },
  ],
  [
    'valibot',
    {
      channel: ofValibot,
      publish: (bus, data) => bus.publish(ofValibot, data),
      subscribe: (bus, handled) =>
        bus.subscribe(ofValibot, {
          name: 'mailer',
          handler: ({ data }) => {
            handled.add(data);
            return ack();
          },
        }),
    },
  ],
];

async function life(
  database: DatabaseSync,
  channel: Channel,
  use: (bus: Bus) => Promise<void>,
): Promise<void> {
  const bus = createBus({ engine: createInProcessEngine(database), source: '/shop' });
  bus.declare([channel]);
  await bus.start();
  try {
    await use(bus);
  } finally {
    await bus.stop({ drainMs: 1_000 });
  }
}

const noon = '2026-03-01T12:00:00.000Z';

describe.each(libraries)('a contract of %s', (_name, { channel, publish, subscribe }) => {
  it('sends what was published, and gives handlers what it makes of it', async () => {
    const handled = new Collector<Made>();
    await life(new DatabaseSync(':memory:'), channel, async (bus) => {
      await settleIn(subscribe(bus, handled));
      await publish(bus, { orderId: 'A-1', at: noon });
      const [waiting] = await bus.peek(channel, 'mailer');
      expect(waiting?.message?.data).toEqual({ orderId: 'A-1', at: noon });
      subscribe(bus, handled);
      expect(await handled.waitFor(1)).toEqual([{ orderId: 'A-1', at: new Date(noon) }]);
    });
  });

  it('refuses what does not fit when it is published, by its path, and stores nothing', async () => {
    await life(new DatabaseSync(':memory:'), channel, async (bus) => {
      await settleIn(subscribe(bus, new Collector()));
      await expect(publish(bus, { orderId: '', at: 'yesterday' })).rejects.toMatchObject({
        code: 'DB_MSG_INVALID_DATA',
        message: expect.stringMatching(/orderId: .+at: /),
      });
      expect(await bus.peek(channel, 'mailer')).toEqual([]);
    });
  });

  it('parks what somebody else published and does not fit, and handles the next', async () => {
    const database = new DatabaseSync(':memory:');
    const handled = new Collector<Made>();
    await life(database, channel, (bus) => settleIn(subscribe(bus, handled)));
    await life(database, lax, async (bus) => {
      await bus.publishBatch(lax, [
        { data: { orderId: 'A-1', at: 'yesterday' } },
        { data: { orderId: 'A-2', at: noon } },
      ]);
    });
    await life(database, channel, async (bus) => {
      subscribe(bus, handled);
      expect(await handled.waitFor(1)).toEqual([{ orderId: 'A-2', at: new Date(noon) }]);
      const [letter] = await eventually(
        () => bus.deadLetters.list(),
        (found) => found.length === 1,
        'the dead letter',
      );
      expect(letter).toMatchObject({
        reason: expect.stringContaining('at: '),
        history: [{ kind: 'invalid' }],
      });
    });
  });
});
