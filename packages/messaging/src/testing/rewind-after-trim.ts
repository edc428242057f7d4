/**
 * A rewind of a subscription whose log was trimmed under what waits for it: a retry, a redrive and a correction are nowhere else then. How the log is trimmed each engine
 * says itself, so this is no case of the suite but what the engines' own cases are made of.
 */
import assert from 'node:assert/strict';
import type { Bus } from '../bus.ts';
import { ack, deadLetter, retry } from '../outcome.ts';
import { kept } from '../conformance/channels.ts';
import { Collector, type EngineFixture, eventually, withBus } from '../conformance/fixture.ts';

export async function rewindAfterTrim(fixture: EngineFixture, trim: () => Promise<unknown>): Promise<void> {
  await withBus({
    fixture,
    channels: [kept],
    async use(bus) {
      const came = new Collector<number>();
      await leaveWaiting(bus);
      await trim();
      await bus.publish(kept, { n: 50 });
      const letters = await bus.deadLetters.list();
      const first = letters.find(({ raw }) => (JSON.parse(raw) as { data: { n: number } }).data.n === 1);
      assert.ok(first && (await bus.deadLetters.redriveEdited(first, { n: 101 })));
      assert.deepEqual(await bus.deadLetters.redrive({}), { moved: 1, remaining: 0 });
      await bus.rewind(kept, 'one', 'earliest');
      await bus.subscribe(kept, {
        name: 'one',
        handler: ({ data }) => {
          came.add(data.n);
          return ack();
        },
      }).started;
      await came.waitFor(4);
      assert.deepEqual(
        came.values.toSorted((a, b) => a - b),
        [2, 9, 50, 101],
      );
    },
  });
}

/** Letters of 1 and 2, and 9 that waits for its retry; the consumer has left. */
async function leaveWaiting(bus: Bus): Promise<void> {
  const failing = bus.subscribe(kept, {
    name: 'one',
    retries: { immediate: 0, delayed: [5_000, 5_000] },
    handler: ({ data }) => (data.n === 9 ? retry({ delayMs: 1_000 }) : deadLetter('broken')),
  });
  await failing.started;
  for (const n of [1, 2, 9]) await bus.publish(kept, { n });
  await eventually(
    async () => (await bus.view()).channels[0]?.subscriptions[0],
    (view) =>
      view !== undefined &&
      view.delayed === 1 &&
      view.deadLetters.reduce((sum, { count }) => sum + count, 0) === 2,
    'two letters and one that waits',
  );
  await failing.stop();
}
