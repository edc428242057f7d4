/** What a message may carry and what becomes of it on the way: sizes, headers, duplicates, versions, encodings and layers around the handler. */
import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import type { Bus } from '../bus.ts';
import { systemClock } from '../clock.ts';
import { MessagingError } from '../errors.ts';
import { alreadyHandled, inboxSchema } from '../inbox.ts';
import type { Message } from '../message.ts';
import type { Middleware } from '../middleware.ts';
import { ack, deadLetter, retry } from '../outcome.ts';
import { encoded, plain, versionOne, versionThree, wide } from './channels.ts';
import { Collector, eventually, numbers, settleIn, withBus } from './fixture.ts';
import type { ConformanceCase } from './suite.ts';

/** A larger limit is not tried: the text alone would take the memory of the machine. */
const LARGEST_TRIED = 64 * 2 ** 20;

/** Headers of some 120 KiB in sum, none of them large by itself. */
const largeHeaders: Readonly<Record<string, string>> = Object.fromEntries(
  numbers(1, 24).map((n) => [`h${n}`, `${n} `.padEnd(5_120, 'x')]),
);

/** The handler of a wide channel that collects what it gets, once it is there. */
async function collectWide(bus: Bus): Promise<Collector<Message<{ n: number; text?: string }>>> {
  const got = new Collector<Message<{ n: number; text?: string }>>();
  await bus.subscribe(wide, {
    name: 'one',
    handler: (message) => {
      got.add(message as Message<{ n: number; text?: string }>);
      return ack();
    },
  }).started;
  return got;
}

export const messageCases: readonly ConformanceCase[] = [
  {
    name: 'a message larger than the engine takes is refused by name, and nothing of it is stored',
    unless: ({ maxMessageBytes }) =>
      maxMessageBytes > LARGEST_TRIED
        ? `the limit of ${maxMessageBytes} bytes is too large to be tried`
        : undefined,
    run: (fixture) =>
      withBus({
        fixture,
        channels: [wide],
        async use(bus) {
          const got = await collectWide(bus);
          const limit = (await bus.view()).capabilities?.maxMessageBytes ?? 0;
          await assert.rejects(bus.publish(wide, { n: 1, text: 'x'.repeat(limit + 1) }), {
            code: 'DB_MSG_MESSAGE_TOO_LARGE',
            retryable: false,
          });
          // Fewer units than the limit has bytes, and more bytes.
          await assert.rejects(bus.publish(wide, { n: 1, text: '선'.repeat(Math.floor(limit / 2)) }), {
            code: 'DB_MSG_MESSAGE_TOO_LARGE',
          });
          const text = 'x'.repeat(Math.floor(limit / 2));
          await bus.publish(wide, { n: 2, text });
          await got.waitFor(1);
          assert.deepEqual(
            got.values.map(({ data }) => data),
            [{ n: 2, text }],
          );
        },
      }),
  },
  {
    name: 'headers of more than 64 KiB in sum are carried whole, or refused by name',
    run: (fixture) =>
      withBus({
        fixture,
        channels: [wide],
        async use(bus) {
          const got = await collectWide(bus);
          const refused = await bus.publish(wide, { n: 1 }, { headers: largeHeaders }).then(
            () => undefined,
            (error: unknown) => error,
          );
          await bus.publish(wide, { n: 2 }, { headers: { small: 'yes' } });
          if (refused !== undefined) {
            assert.ok(refused instanceof MessagingError, String(refused));
            assert.match(refused.code, /^DB_MSG_(MESSAGE_TOO_LARGE|INVALID_OPTIONS)$/);
          }
          await got.waitFor(refused === undefined ? 2 : 1);
          assert.deepEqual(
            got.values.map(({ headers }) => headers),
            [...(refused === undefined ? [largeHeaders] : []), { small: 'yes' }],
          );
        },
      }),
  },
  {
    name: 'text of every kind arrives as it was published',
    run: (fixture) =>
      withBus({
        fixture,
        channels: [wide],
        async use(bus) {
          const got = await collectWide(bus);
          const texts = [
            '선착순 쿠폰',
            'emoji \u{1F381}',
            'line\r\nbreak\ttab',
            'nul \u0000 inside',
            '',
            '"quoted\\"',
          ];
          await bus.publishBatch(
            wide,
            texts.map((text, n) => ({ data: { n, text }, options: { headers: { text: text || 'none' } } })),
          );
          await got.waitFor(texts.length);
          assert.deepEqual(
            got.values.map(({ data, headers }) => [data.text, headers.text]),
            texts.map((text) => [text, text || 'none']),
          );
        },
      }),
  },
  {
    name: 'an id that is published twice is handed out twice, and an inbox makes it one',
    async run(fixture) {
      const db = new DatabaseSync(':memory:');
      db.exec(inboxSchema);
      const effects: number[] = [];
      const got = new Collector<string>();
      await withBus({
        fixture,
        channels: [plain],
        prepare: (bus) =>
          void bus.subscribe(plain, {
            name: 'one',
            handler: ({ id, data }) => {
              db.exec('BEGIN IMMEDIATE');
              const entry = { subscription: 'one', messageId: id, now: systemClock.now() };
              if (!alreadyHandled(db, entry)) effects.push(data.n);
              db.exec('COMMIT');
              got.add(id);
              return ack();
            },
          }),
        async use(bus) {
          const { id } = await bus.publish(plain, { n: 1 });
          await bus.publish(plain, { n: 1 }, { id });
          await bus.publish(plain, { n: 2 });
          await got.waitFor(3);
          assert.deepEqual(
            got.values.filter((one) => one === id),
            [id, id],
          );
        },
      });
      assert.deepEqual(effects, [1, 2]);
      db.close();
    },
  },
  {
    name: 'upcasters make an old message as new as the contract; a newer one than known is parked',
    async run(fixture) {
      await withBus({
        fixture,
        channels: [versionOne],
        async use(bus) {
          await settleIn(bus.subscribe(versionOne, { name: 'one', handler: () => ack() }));
          await bus.publish(versionOne, { n: 7 });
        },
      });
      const got = new Collector<[number, unknown]>();
      await withBus({
        fixture,
        channels: [versionThree],
        prepare: (bus) =>
          void bus.subscribe(versionThree, {
            name: 'one',
            handler: ({ version, data }) => {
              got.add([version, data]);
              return ack();
            },
          }),
        async use(bus) {
          await got.waitFor(1);
          await bus.publish(versionThree, { amount: 8, currency: 'KRW' });
          await got.waitFor(2);
        },
      });
      assert.deepEqual(got.values, [
        [3, { amount: 7, currency: 'EUR' }],
        [3, { amount: 8, currency: 'KRW' }],
      ]);
      await withBus({
        fixture,
        channels: [versionOne],
        prepare: (bus) =>
          void bus.subscribe(versionOne, { name: 'one', handler: () => assert.fail('must not be handled') }),
        async use(bus) {
          await bus.forward([
            {
              channel: versionOne.name,
              message: {
                id: 'from-the-future',
                type: versionOne.name,
                version: 3,
                source: '/s',
                time: '2026-01-01T00:00:00.000Z',
                data: { amount: 9, currency: 'EUR' },
                headers: {},
              },
            },
          ]);
          const [letter] = await eventually(
            () => bus.deadLetters.list(),
            (found) => found.length === 1,
            'the dead letter',
          );
          assert.equal(letter?.messageId, 'from-the-future');
          assert.match(letter?.reason ?? '', /version 3 is newer/);
        },
      });
    },
  },
  {
    name: 'an encoding of bytes goes through unchanged: published, peeked at, retried, handled',
    run: (fixture) =>
      withBus({
        fixture,
        channels: [encoded],
        async use(bus) {
          await settleIn(bus.subscribe(encoded, { name: 'one', handler: () => ack() }));
          // In big-endian bytes: ff fe 00 80, which no text can carry as it is.
          const values = [-130_944, 1, 0];
          await bus.publishBatch(
            encoded,
            values.map((n) => ({ data: { n } })),
          );
          const [first] = await bus.peek(encoded, 'one');
          assert.ok(first?.message?.data instanceof Uint8Array, 'peek shows what is on the wire');
          assert.equal(first.message.contentType, 'application/x-conformance-int32');
          assert.deepEqual([...first.message.data], [0xff, 0xfe, 0x00, 0x80]);
          const got = new Collector<number>();
          const failed = new Set<number>();
          bus.subscribe(encoded, {
            name: 'one',
            retries: { immediate: 0, delayed: [10] },
            handler: ({ data }) => {
              if (!failed.has(data.n)) {
                failed.add(data.n);
                return retry();
              }
              got.add(data.n);
              return ack();
            },
          });
          await got.waitFor(3);
          assert.deepEqual(new Set(got.values), new Set(values));
        },
      }),
  },
  {
    name: 'layers lie around the handler, the first outermost, and one may answer by itself',
    run: (fixture) =>
      withBus({
        fixture,
        channels: [plain],
        async use(bus) {
          const told: string[] = [];
          const layer =
            (name: string): Middleware<typeof plain> =>
            async ({ data }, _, next) => {
              told.push(`${name} before ${data.n}`);
              const outcome = await next();
              told.push(`${name} after ${data.n}: ${outcome.kind}`);
              return outcome;
            };
          const gate: Middleware<typeof plain> = async ({ data }, _, next) =>
            data.n === 2 ? deadLetter('stopped at the gate') : next();
          const done = new Collector<number>();
          await bus.subscribe(plain, {
            name: 'one',
            middleware: [layer('outer'), gate, layer('inner')],
            handler: ({ data }) => {
              told.push(`handler ${data.n}`);
              done.add(data.n);
              return ack();
            },
          }).started;
          for (const n of [1, 2, 3]) await bus.publish(plain, { n });
          await done.waitFor(2);
          const [letter] = await eventually(
            () => bus.deadLetters.list(),
            (found) => found.length === 1,
            'the dead letter of the gate',
          );
          assert.equal(letter?.reason, 'stopped at the gate');
          assert.deepEqual(
            told.filter((line) => / [12]/.test(line)),
            [
              'outer before 1',
              'inner before 1',
              'handler 1',
              'inner after 1: ack',
              'outer after 1: ack',
              'outer before 2',
              'outer after 2: deadLetter',
            ],
          );
        },
      }),
  },
];
