/** Cases every durable engine passes when handlers fail: retries, attempts, dead letters with history, redrive. */
import assert from 'node:assert/strict';
import type { Bus } from '../bus.ts';
import { systemClock } from '../clock.ts';
import type { DeliveryToken } from '../engine.ts';
import type { Message } from '../message.ts';
import { ack, deadLetter, retry, snooze } from '../outcome.ts';
import { specOf } from '../specs.ts';
import { plain, sequenced } from './channels.ts';
import { Collector, eventually, type EngineFixture, withBus } from './fixture.ts';
import type { ConformanceCase } from './suite.ts';

const noRetries = { immediate: 0, delayed: [] };
const once = (name: string, run: ConformanceCase['run']): ConformanceCase => ({ name, run });

async function publishNumbers(bus: Bus, from: number, to: number): Promise<void> {
  const items = Array.from({ length: to - from + 1 }, (_, index) => ({ data: { n: from + index } }));
  await bus.publishBatch(plain, items);
}

/** What a handler in JavaScript may do to its copy of a message. */
function spoil(message: Message<{ n: number }>): void {
  const mutable = message as { -readonly [Field in keyof typeof message]: (typeof message)[Field] };
  mutable.data.n = 99;
  Object.assign(mutable.headers, { tenant: 'other', mine: 'yes' });
  mutable.id = 'other';
  mutable.key = 'other';
}

/** Leaves three messages that wait with a state that no toolkit wrote, as anybody may who publishes to the broker. */
async function plantStates(fixture: EngineFixture, states: readonly string[]): Promise<void> {
  const connection = await fixture.open().connect({ clock: systemClock, onFatal: () => {} });
  const { name: channel } = plain;
  await connection.declare({ channels: [specOf(plain)], subscriptions: [{ channel, name: 'one' }] });
  const out = new Collector<DeliveryToken>();
  const consumer = await connection.subscribe(
    { channel, subscription: 'one', prefetch: states.length, leaseMs: 30_000 },
    (deliveries) => {
      for (const { token } of deliveries) out.add(token);
    },
  );
  await connection.publish(
    states.map((_, n) => ({
      channel,
      message: {
        id: `planted-${n}`,
        type: channel,
        version: 1,
        source: '/conformance',
        time: '2026-01-01T00:00:00.000Z',
        data: { n },
        headers: {},
      },
    })),
  );
  const tokens = await out.waitFor(states.length, 'messages to plant a state beside');
  await consumer.pause();
  const dueAt = systemClock.now();
  await consumer.settle(
    tokens.map((token, n) => ({ kind: 'retry', token, dueAt, state: states[n] as string })),
  );
  await consumer.close();
  await connection.close();
}

export const failureCases: readonly ConformanceCase[] = [
  once('a throw is tried again by the policy, attempts are counted, then it works', async (fixture) => {
    const attempts = new Collector<number>();
    await withBus({
      fixture,
      channels: [plain],
      prepare: (bus) =>
        void bus.subscribe(plain, {
          name: 'one',
          retries: { immediate: 1, delayed: [20, 20] },
          handler: (_, { attempt }) => {
            attempts.add(attempt);
            if (attempt < 4) throw new Error('not yet');
            return ack();
          },
        }),
      async use(bus) {
        await bus.publish(plain, { n: 1 });
        await attempts.waitFor(4);
        await eventually(
          () => bus.view(),
          (view) => view.channels[0]?.subscriptions[0]?.inFlight === 0,
          'the settlement',
        );
        assert.deepEqual(await bus.deadLetters.list(), []);
      },
    });
    assert.deepEqual(attempts.values, [1, 2, 3, 4]);
  }),

  once('poison ends as a dead letter with its whole history, and others are not held up', async (fixture) => {
    const good = new Collector<number>();
    await withBus({
      fixture,
      channels: [plain],
      prepare: (bus) =>
        void bus.subscribe(plain, {
          name: 'one',
          retries: { immediate: 1, delayed: [10] },
          handler: ({ data }) => {
            if (data.n === 1) throw new RangeError('no such order 17');
            good.add(data.n);
            return ack();
          },
        }),
      async use(bus) {
        const { id } = await bus.publish(plain, { n: 1 });
        await publishNumbers(bus, 2, 10);
        await good.waitFor(9);
        const [letter] = await eventually(
          () => bus.deadLetters.list({ channel: plain.name }),
          (found) => found.length === 1,
          'the dead letter',
        );
        assert.equal(letter?.messageId, id);
        assert.deepEqual(
          letter?.history.map(({ attempt, kind }) => [attempt, kind]),
          [
            [1, 'threw'],
            [2, 'threw'],
            [3, 'threw'],
          ],
        );
        assert.match(letter?.reason ?? '', /no such order 17/);
        assert.equal(letter?.group, 'threw: RangeError: no such order #');
        const view = await bus.view();
        assert.deepEqual(view.channels[0]?.subscriptions[0]?.deadLetters, [
          { group: 'threw: RangeError: no such order #', count: 1 },
        ]);
      },
    });
  }),

  once(
    'redrive by filter keeps the id, links to the dead letter, and a second failure keeps the first history',
    async (fixture) => {
      const seen = new Collector<{ id: string; redrives: number; link: string | undefined }>();
      let fixed = false;
      await withBus({
        fixture,
        channels: [plain],
        prepare: (bus) =>
          void bus.subscribe(plain, {
            name: 'one',
            retries: noRetries,
            handler: ({ id }, { redrive }) => {
              seen.add({ id, redrives: redrive?.count ?? 0, link: redrive?.deadLetterId });
              return fixed ? ack() : deadLetter('broken');
            },
          }),
        async use(bus) {
          const { id } = await bus.publish(plain, { n: 1 });
          const [first] = await eventually(
            () => bus.deadLetters.list(),
            (found) => found.length === 1,
            'the dead letter',
          );
          assert.deepEqual(await bus.deadLetters.redrive({ group: 'no such group' }), {
            moved: 0,
            remaining: 0,
          });
          assert.equal((await bus.deadLetters.redrive({ group: first?.group ?? '' })).moved, 1);
          const [second] = await eventually(
            () => bus.deadLetters.list(),
            (found) => found.length === 1 && found[0]?.id !== first?.id,
            'the second dead letter',
          );
          assert.deepEqual(
            second?.history.map(({ kind }) => kind),
            ['deadLetter', 'redriven', 'deadLetter'],
          );
          fixed = true;
          await bus.deadLetters.redrive({ messageIds: [id] });
          await seen.waitFor(3);
          assert.deepEqual(
            seen.values.map((one) => one.id),
            [id, id, id],
          );
          assert.deepEqual(
            seen.values.map(({ redrives, link }) => [redrives, link]),
            [
              [0, undefined],
              [1, first?.id],
              [2, second?.id],
            ],
          );
        },
      });
    },
  ),

  {
    name: 'what a handler does to its copy of a message is in no later attempt, no dead letter and no redrive',
    unless: ({ deadLetters }) => (deadLetters === 'none' ? 'the engine keeps no dead letters' : undefined),
    async run(fixture) {
      const seen = new Collector<readonly unknown[]>();
      let mended = false;
      await withBus({
        fixture,
        channels: [plain],
        prepare: (bus) =>
          void bus.subscribe(plain, {
            name: 'one',
            retries: { immediate: 0, delayed: [10] },
            handler: (message) => {
              const { id, key, data, headers } = message;
              seen.add([id, key, data.n, { ...headers }]);
              if (mended) return ack();
              spoil(message);
              throw new Error('the provider is down');
            },
          }),
        async use(bus) {
          const { id } = await bus.publish(plain, { n: 1 }, { headers: { tenant: 'acme' } });
          const [letter] = await eventually(
            () => bus.deadLetters.list(),
            (found) => found.length === 1,
            'the dead letter',
          );
          const { data, tenant, mine } = JSON.parse(letter?.raw ?? '') as Record<string, unknown>;
          assert.deepEqual([letter?.messageId, data, tenant, mine], [id, { n: 1 }, 'acme', undefined]);
          mended = true;
          assert.equal((await bus.deadLetters.redrive({ messageIds: [id] })).moved, 1);
          const asPublished = [id, undefined, 1, { tenant: 'acme' }];
          assert.deepEqual(await seen.waitFor(3), [asPublished, asPublished, asPublished]);
        },
      });
    },
  },
  {
    name: 'a handler that gives its copy of a message another key frees neither the key nor its sequence',
    unless: ({ orderPerKey }) => (orderPerKey === 'none' ? 'the engine keeps no order' : undefined),
    async run(fixture) {
      const handled = new Collector<number>();
      let mended = false;
      await withBus({
        fixture,
        channels: [sequenced],
        prepare: (bus) =>
          void bus.subscribe(sequenced, {
            name: 's',
            retries: { immediate: 0, delayed: [10] },
            handler: (message) => {
              const { n } = message.data;
              if (n === 1 && !mended) {
                spoil(message);
                throw new Error('the provider is down');
              }
              handled.add(n);
              return ack();
            },
          }),
        async use(bus) {
          const items = [1, 2].map((n) => ({ data: { n }, options: { key: 'a' } }));
          await bus.publishBatch(sequenced, items);
          const letters = await eventually(
            () => bus.deadLetters.list(),
            (found) => found.length + handled.values.length === 2,
            'both messages',
          );
          assert.deepEqual(handled.values, []);
          assert.deepEqual(
            letters.map(({ key }) => key),
            ['a', 'a'],
          );
          mended = true;
          await bus.deadLetters.redrive({});
          assert.deepEqual(await handled.waitFor(2), [1, 2]);
        },
      });
    },
  },

  once('a discarded dead letter is gone', async (fixture) => {
    await withBus({
      fixture,
      channels: [plain],
      prepare: (bus) =>
        void bus.subscribe(plain, { name: 'one', retries: noRetries, handler: () => deadLetter('unwanted') }),
      async use(bus) {
        await publishNumbers(bus, 1, 3);
        await eventually(
          () => bus.deadLetters.list(),
          (found) => found.length === 3,
          'three dead letters',
        );
        assert.deepEqual(await bus.deadLetters.discard({ channel: plain.name }, { limit: 2 }), {
          moved: 2,
          remaining: 1,
        });
        assert.equal((await bus.deadLetters.list()).length, 1);
      },
    });
  }),

  {
    name: 'an expiry that is no time expires nothing: the message of a stranger is handled',
    unless: (_, { injectRaw }) =>
      injectRaw ? undefined : 'the fixture cannot store a payload that no publisher of the toolkit made',
    async run(fixture) {
      const strange = ['yesterday', '2999-02-30T25:00:00Z', ''];
      const got = new Collector<string>();
      const prepare = (bus: Bus): void =>
        void bus.subscribe(plain, {
          name: 'one',
          handler: ({ id }) => {
            got.add(id);
            return ack();
          },
        });
      const channels = [plain];
      await withBus({ fixture, channels, prepare, use: async () => {} });
      for (const expirytime of strange) {
        const event = {
          specversion: '1.0',
          id: `"${expirytime}"`,
          type: plain.name,
          source: '/s',
          expirytime,
        };
        await fixture.injectRaw?.(plain.name, JSON.stringify({ ...event, data: { n: 1 } }));
      }
      await withBus({
        fixture,
        channels,
        prepare,
        use: async () => void (await got.waitFor(strange.length)),
      });
      assert.deepEqual(got.values.toSorted(), strange.map((text) => `"${text}"`).toSorted());
    },
  },
  {
    name: 'a payload that is no CloudEvent and one that breaks the contract become dead letters with the reason',
    unless: (_, { injectRaw }) =>
      injectRaw ? undefined : 'the fixture cannot store a payload that no publisher of the toolkit made',
    async run(fixture) {
      await withBus({
        fixture,
        channels: [plain],
        prepare: (bus) => void bus.subscribe(plain, { name: 'one', handler: () => ack() }),
        use: async () => {},
      });
      await fixture.injectRaw?.(plain.name, '{"half": ');
      await fixture.injectRaw?.(
        plain.name,
        JSON.stringify({ specversion: '1.0', id: 'x', type: plain.name, source: '/s', data: { n: 'text' } }),
      );
      await withBus({
        fixture,
        channels: [plain],
        prepare: (bus) =>
          void bus.subscribe(plain, { name: 'one', handler: () => assert.fail('must not be handled') }),
        async use(bus) {
          const letters = await eventually(
            () => bus.deadLetters.list(),
            (found) => found.length === 2,
            'two dead letters',
          );
          assert.deepEqual(
            letters.map(({ history }) => history[0]?.kind),
            ['malformed', 'invalid'],
          );
          assert.equal(letters[0]?.raw, '{"half": ');
          assert.ok(letters[0]?.reason, 'the reason is told');
        },
      });
    },
  },

  once('snooze comes back later and is no attempt; retry with a delay is one', async (fixture) => {
    const seen = new Collector<[number, number]>();
    await withBus({
      fixture,
      channels: [plain],
      prepare: (bus) =>
        void bus.subscribe(plain, {
          name: 'one',
          retries: { immediate: 0, delayed: [5_000, 5_000] },
          handler: (_, { attempt }) => {
            seen.add([attempt, systemClock.monotonic()]);
            if (seen.values.length === 1) return snooze(60);
            return seen.values.length === 2 ? retry({ delayMs: 60 }) : ack();
          },
        }),
      async use(bus) {
        await bus.publish(plain, { n: 1 });
        await seen.waitFor(3);
      },
    });
    assert.deepEqual(
      seen.values.map(([attempt]) => attempt),
      [1, 1, 2],
    );
    const [a, b, c] = seen.values.map(([, at]) => at) as [number, number, number];
    assert.ok(b - a >= 55 && c - b >= 55, `came after ${b - a} and ${c - b} ms`);
  }),

  {
    name: 'a state beside a message that no toolkit wrote parks the message, with the reason',
    unless: ({ deadLetters }) => (deadLetters === 'none' ? 'the engine keeps no dead letters' : undefined),
    async run(fixture) {
      await plantStates(fixture, [
        'not json',
        '{}',
        '{"attempts":-1,"abandoned":0,"redrives":0,"history":[]}',
      ]);
      const handled = new Collector<number>();
      await withBus({
        fixture,
        channels: [plain],
        prepare: (bus) =>
          void bus.subscribe(plain, {
            name: 'one',
            handler: ({ data }) => {
              handled.add(data.n);
              return ack();
            },
          }),
        async use(bus) {
          await bus.publish(plain, { n: 9 });
          const letters = await eventually(
            () => bus.deadLetters.list(),
            (found) => found.length === 3,
            'the dead letters',
          );
          await handled.waitFor(1);
          assert.deepEqual(handled.values, [9]);
          for (const { reason, history } of letters) {
            assert.match(reason, /the state beside the message is none of this toolkit/);
            assert.equal(history.at(-1)?.kind, 'malformed');
          }
          await bus.deadLetters.redrive({});
          await handled.waitFor(4);
          assert.deepEqual(new Set(handled.values.slice(1)), new Set([0, 1, 2]));
        },
      });
    },
  },
];
