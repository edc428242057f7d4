/** Forgetting a subscription by name: not under its consumers, and then with its backlog. */
import assert from 'node:assert/strict';
import { systemClock } from '../clock.ts';
import type { Delivery, EngineConnection, OutgoingMessage } from '../engine.ts';
import { specOf } from '../specs.ts';
import { plain } from './channels.ts';
import { Collector, type EngineFixture, numbers } from './fixture.ts';
import type { ConformanceCase } from './suite.ts';

const LATER_MS = 300;
const one = { channel: plain.name, name: 'one' };
const channels = [specOf(plain)];

const outgoing = (n: number): OutgoingMessage => {
  const cause = { type: plain.name, version: 1, source: '/conformance', time: '2026-01-01T00:00:00.000Z' };
  return { channel: plain.name, message: { ...cause, id: `kept-${n}`, data: { n }, headers: {} } };
};

/** Two connections, where one store takes several processes: who consumes, and who wants to forget. */
async function onTwo(
  fixture: EngineFixture,
  work: (consuming: EngineConnection, forgetting: EngineConnection) => Promise<void>,
): Promise<void> {
  const open = (): Promise<EngineConnection> =>
    fixture.open().connect({ clock: systemClock, onFatal: () => {} });
  const first = await open();
  try {
    const isAlone = first.capabilities.processes === 'one';
    const second = isAlone ? first : await open();
    try {
      await work(first, second);
    } finally {
      if (!isAlone) await second.close();
    }
  } finally {
    await first.close();
  }
}

const idsOf = (deliveries: readonly Delivery[]): readonly (string | undefined)[] =>
  deliveries.map(({ message }) => message?.id);

export const forgetCases: readonly ConformanceCase[] = [
  {
    name: 'a subscription is not forgotten under its consumers, and loses nothing then; without them it is',
    unless: ({ deadLetters }) =>
      deadLetters === 'none' ? 'the engine keeps nothing of a subscription that could be lost' : undefined,
    run: (fixture) =>
      onTwo(fixture, async (consuming, forgetting) => {
        const forget = (): Promise<void> =>
          forgetting.declare({ channels, subscriptions: [], removed: [one] });
        await consuming.declare({ channels, subscriptions: [one] });
        const got = new Collector<Delivery>();
        const consumer = await consuming.subscribe(
          { channel: plain.name, subscription: 'one', prefetch: 2, leaseMs: 30_000 },
          (deliveries) => {
            for (const delivery of deliveries) got.add(delivery);
          },
        );
        await consuming.publish(numbers(1, 4).map(outgoing));
        const [first, second] = (await got.waitFor(2)) as readonly [Delivery, Delivery];
        const dueAt = systemClock.now() + LATER_MS;
        assert.deepEqual(
          await consumer.settle([{ kind: 'retry', token: first.token, dueAt, state: 'once' }]),
          ['settled'],
        );
        await got.waitFor(3);
        // One waits for a time, two are out, and one waits for them.
        await assert.rejects(forget(), { code: 'DB_MSG_SUBSCRIPTION_BUSY', retryable: true });
        const out = [second, got.values[2] as Delivery];
        const acks = (deliveries: readonly Delivery[]) =>
          consumer.settle(deliveries.map(({ token }) => ({ kind: 'ack', token })));
        assert.deepEqual(await acks(out), ['settled', 'settled']);
        const rest = (await got.waitFor(5)).slice(3);
        assert.deepEqual(new Set(idsOf(rest)), new Set(['kept-1', 'kept-4']));
        assert.equal(rest.find(({ message }) => message?.id === 'kept-1')?.state, 'once');
        assert.deepEqual(await acks(rest), ['settled', 'settled']);
        await consumer.close();
        await forget();
        const view = await forgetting.inspect();
        assert.deepEqual(view.channels.find(({ name }) => name === plain.name)?.subscriptions, []);
      }),
  },
];
