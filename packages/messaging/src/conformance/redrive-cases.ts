/** Dead letters as people work with them: grouped by cause, and redriven with corrected data. */
import assert from 'node:assert/strict';
import type { Bus } from '../bus.ts';
import type { Capabilities } from '../engine.ts';
import type { Message } from '../message.ts';
import { ack, deadLetter, type Outcome } from '../outcome.ts';
import type { HandlerContext } from '../handler-context.ts';
import { plain, sequenced } from './channels.ts';
import { Collector, eventually, numbers, withBus } from './fixture.ts';
import type { ConformanceCase } from './suite.ts';

const noRetries = { immediate: 0, delayed: [] };
const noOrder = ({ orderPerKey }: Capabilities): string | undefined =>
  orderPerKey === 'none' ? 'the engine has no order per key' : undefined;

const byNumber = (a: readonly unknown[], b: readonly unknown[]): number => Number(a[1]) - Number(b[1]);

interface Seen {
  readonly message: Message<{ n: number }>;
  readonly attempt: number;
  readonly redrive: HandlerContext['redrive'];
}

export const redriveCases: readonly ConformanceCase[] = [
  {
    name: 'dead letters are grouped by cause, the largest group first',
    run: (fixture) =>
      withBus({
        fixture,
        channels: [plain],
        prepare: (bus) =>
          void bus.subscribe(plain, {
            name: 'one',
            retries: noRetries,
            handler: ({ data }) => {
              if (data.n === 2) throw new TypeError('no address');
              throw new RangeError(`order ${data.n} of "shop ${data.n}" is unknown`);
            },
          }),
        async use(bus) {
          await bus.publishBatch(
            plain,
            numbers(1, 4).map((n) => ({ data: { n } })),
          );
          const groups = await eventually(
            () => bus.deadLetters.groups(),
            (found) => found.reduce((sum, { count }) => sum + count, 0) === 4,
            'four dead letters in groups',
          );
          const place = { channel: plain.name, subscription: 'one' };
          assert.deepEqual(groups, [
            { ...place, group: 'threw: RangeError: order # of # is unknown', count: 3 },
            { ...place, group: 'threw: TypeError: no address', count: 1 },
          ]);
        },
      }),
  },
  {
    name: 'an edited redrive is a new message in the place of the letter, in its subscription only',
    run: (fixture) =>
      withBus({
        fixture,
        channels: [plain],
        async use(bus) {
          const one = new Collector<Seen>();
          const two = new Collector<number>();
          await bus.subscribe(plain, {
            name: 'one',
            retries: noRetries,
            handler: (message, { attempt, redrive }) => {
              one.add({ message, attempt, redrive });
              return message.data.n < 100 ? deadLetter(`${message.data.n} is too small`) : ack();
            },
          }).started;
          await bus.subscribe(plain, {
            name: 'two',
            handler: ({ data }) => {
              two.add(data.n);
              return ack();
            },
          }).started;
          const { id } = await bus.publish(
            plain,
            { n: 1 },
            { correlationId: 'talk', headers: { tenant: 'a' } },
          );
          const [letter] = await eventually(
            () => bus.deadLetters.list(),
            (found) => found.length === 1,
            'the dead letter',
          );
          assert.ok(letter);
          const edited = await bus.deadLetters.redriveEdited(letter, { n: 100 });
          assert.ok(edited !== undefined && edited !== id);
          const { message, attempt, redrive } = (await one.waitFor(2))[1] as Seen;
          assert.deepEqual(
            {
              id: message.id,
              data: message.data,
              causationId: message.causationId,
              correlationId: message.correlationId,
              headers: message.headers,
              attempt,
              redrive,
            },
            {
              id: edited,
              data: { n: 100 },
              causationId: id,
              correlationId: 'talk',
              headers: { tenant: 'a', redriveof: letter.id },
              attempt: 1,
              redrive: { deadLetterId: letter.id, count: 1 },
            },
          );
          assert.deepEqual(await bus.deadLetters.list(), []);
          assert.equal(await bus.deadLetters.redriveEdited(letter, { n: 101 }), undefined);
          await bus.publish(plain, { n: 102 });
          await two.waitFor(2);
          await one.waitFor(3);
          assert.deepEqual(two.values, [1, 102]);
          assert.deepEqual(
            one.values.map((seen) => seen.message.data.n),
            [1, 100, 102],
          );
        },
      }),
  },
  {
    name: 'an edited message that fails again is a dead letter with the history of both',
    run: (fixture) =>
      withBus({
        fixture,
        channels: [plain],
        prepare: (bus) =>
          void bus.subscribe(plain, {
            name: 'one',
            retries: noRetries,
            handler: ({ data }) => deadLetter(`${data.n} is broken`),
          }),
        async use(bus) {
          await bus.publish(plain, { n: 1 });
          const one = async () => (await bus.deadLetters.list())[0];
          const first = await eventually(one, (letter) => letter !== undefined, 'the dead letter');
          assert.ok(first);
          const id = await bus.deadLetters.redriveEdited(first, { n: 2 });
          const second = await eventually(
            one,
            (letter) => letter !== undefined && letter.id !== first.id,
            'the second dead letter',
          );
          assert.equal(second?.messageId, id);
          assert.deepEqual(
            second?.history.map(({ reason }) => reason),
            ['1 is broken', '2 is broken'],
          );
          assert.deepEqual((JSON.parse(second.raw) as { data: unknown }).data, { n: 2 });
        },
      }),
  },
  {
    name: 'a malformed letter that has no id is edited and redriven like any other',
    unless: (_, { injectRaw }) =>
      injectRaw ? undefined : 'the fixture cannot store a payload that no publisher of the toolkit made',
    async run(fixture) {
      const got = new Collector<Message<{ n: number }>>();
      const handler = (message: Message<{ n: number }>): Outcome => {
        got.add(message);
        return ack();
      };
      const prepare = (bus: Bus): void => void bus.subscribe(plain, { name: 'one', handler });
      await withBus({ fixture, channels: [plain], prepare, use: async () => {} });
      await fixture.injectRaw?.(plain.name, '{"half": ');
      const withoutId = { specversion: '1.0', type: plain.name, source: '/s', data: { n: 2 } };
      await fixture.injectRaw?.(plain.name, JSON.stringify(withoutId));
      await withBus({
        fixture,
        channels: [plain],
        prepare,
        async use(bus) {
          const letters = await eventually(
            () => bus.deadLetters.list(),
            (found) => found.length === 2,
            'two dead letters',
          );
          const edited = [];
          for (const [at, letter] of letters.entries())
            edited.push(await bus.deadLetters.redriveEdited(letter, { n: 100 + at }));
          await got.waitFor(2);
          assert.deepEqual(
            got.values.map(({ id, data, causationId }) => [id, data.n, causationId]).toSorted(byNumber),
            edited.map((id, at) => [id, 100 + at, undefined]),
          );
          assert.deepEqual(await bus.deadLetters.list(), []);
        },
      });
    },
  },
  {
    name: 'on a keyed channel the edited head takes its place and the parked sequence follows it',
    unless: noOrder,
    run: (fixture) =>
      withBus({
        fixture,
        channels: [sequenced],
        async use(bus) {
          const got = new Collector<number>();
          const handler = ({ data }: Message<{ n: number }>): Outcome => {
            if (data.n === 2) return deadLetter('two is broken');
            got.add(data.n);
            return ack();
          };
          await bus.subscribe(sequenced, { name: 'one', concurrency: 4, retries: noRetries, handler })
            .started;
          await bus.publishBatch(
            sequenced,
            numbers(1, 4).map((n) => ({ data: { n }, options: { key: 'a' } })),
          );
          const parked = await eventually(
            () => bus.deadLetters.list({ key: 'a' }),
            (found) => found.length === 3,
            'the head and its followers parked',
          );
          const [head] = parked;
          assert.ok(head);
          await bus.deadLetters.redriveEdited(head, { n: 20 });
          await got.waitFor(4);
          await bus.publish(sequenced, { n: 5 }, { key: 'a' });
          await got.waitFor(5);
          assert.deepEqual(got.values, [1, 20, 3, 4, 5]);
          assert.deepEqual(await bus.deadLetters.list(), []);
        },
      }),
  },
  {
    name: 'order per key stays right while somebody redrives and the key is being published',
    unless: noOrder,
    run: (fixture) =>
      withBus({
        fixture,
        channels: [sequenced],
        async use(bus) {
          const got = new Collector<readonly [string, number]>();
          await bus.subscribe(sequenced, {
            name: 'one',
            concurrency: 4,
            retries: noRetries,
            handler({ key = '', data }, { redrive }) {
              if ((redrive?.count ?? 0) < failuresOf(data.n)) return deadLetter('planned');
              got.add([key, data.n]);
              return ack();
            },
          }).started;
          let last = 0;
          const publishing = (async () => {
            for (const n of numbers(1, 60)) {
              await bus.publish(sequenced, { n }, { key: n % 2 === 0 ? 'even' : 'odd' });
              last = n;
            }
          })();
          // The last one of them alone does not tell: others may still be among the dead letters.
          const handled = () => new Set(got.values.map(([, n]) => n)).size;
          await eventually(
            async () => {
              await bus.deadLetters.redrive({});
              return { published: last, handled: handled() };
            },
            (seen) => seen.handled === 60,
            'every message handled',
          );
          await publishing;
          for (const key of ['even', 'odd'])
            assert.deepEqual(
              // At least once: the first time counts.
              [...new Set(got.values.filter((one) => one[0] === key).map(([, n]) => n))],
              numbers(1, 60).filter((n) => (n % 2 === 0) === (key === 'even')),
            );
        },
      }),
  },
];

/** How often it ends as a dead letter before it works: one early and one late message of each key, the early one again when it is redriven. */
function failuresOf(n: number): number {
  if (n === 5 || n === 8) return 2;
  return n === 35 || n === 38 ? 1 : 0;
}
