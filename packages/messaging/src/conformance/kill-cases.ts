/**
 * Cases with a real process and SIGKILL at each point of a message's way: between receive and handle, in the handler,
 * between handle and the durable ack, and between confirms. Note that a kill keeps the page cache: this shows what a crash of the
 * process leaves, not what a power cut leaves.
 */
import assert from 'node:assert/strict';
import { ack, deadLetter } from '../outcome.ts';
import { plain } from './channels.ts';
import { startChild } from './child-process.ts';
import { Collector, type EngineFixture, eventually, type FixtureTraits, withBus } from './fixture.ts';
import type { ConformanceCase } from './suite.ts';

type Scenario = 'receive' | 'handle' | 'ack' | 'settled' | 'confirm';

/** Starts the child, kills it with SIGKILL after `steps` told steps, and returns every step it told before it died. */
async function killAfter(
  fixture: EngineFixture,
  scenario: Scenario,
  steps: number,
): Promise<readonly string[]> {
  const { child } = fixture;
  assert.ok(child, 'the fixture gives no child module');
  const entry = new URL(import.meta.url.endsWith('.ts') ? './child.ts' : './child.js', import.meta.url);
  const victim = startChild(entry, [child.module.href, child.argument, scenario]);
  try {
    await victim.started;
    await victim.told.waitFor(steps, `steps of the child (${scenario})`);
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${victim.trouble()}`, { cause: error });
  } finally {
    victim.send('SIGKILL');
    await victim.ended;
  }
  return victim.told.values.map((line) => line.split(' ')[1] ?? '');
}

async function publishSome(fixture: EngineFixture, count: number): Promise<readonly string[]> {
  let ids: readonly string[] = [];
  await withBus({
    fixture,
    channels: [plain],
    async use(bus) {
      await bus.subscribe(plain, { name: 'one', handler: () => ack() }).stop({ drainMs: 0 });
      ids = (
        await bus.publishBatch(
          plain,
          Array.from({ length: count }, (_, n) => ({ data: { n } })),
        )
      ).map(({ id }) => id);
    },
  });
  return ids;
}

/** What is still there for the subscription: ids with the attempt they came as. */
async function consumeRest(fixture: EngineFixture, expected: number): Promise<ReadonlyMap<string, number>> {
  const got = new Collector<[string, number]>();
  await withBus({
    fixture,
    channels: [plain],
    prepare: (bus) =>
      void bus.subscribe(plain, {
        name: 'one',
        // One at a time would make a broker's round trip per message the length of this case.
        concurrency: 8,
        retries: { immediate: 0, delayed: [1, 1, 1, 1, 1] },
        handler: ({ id }, { attempt }) => {
          got.add([id, attempt]);
          return ack();
        },
      }),
    async use(bus) {
      await got.waitFor(expected, 'messages after the kill');
      await eventually(
        () => bus.view(),
        ({ channels }) =>
          (channels[0]?.subscriptions[0]?.ready ?? 1) + (channels[0]?.subscriptions[0]?.inFlight ?? 1) === 0,
        'an empty subscription',
      );
    },
  });
  assert.equal(
    new Set(got.values.map(([id]) => id)).size,
    got.values.length,
    'one came twice to the process that was not killed',
  );
  return new Map(got.values);
}

const needsChild = (_: unknown, fixture: FixtureTraits): string | undefined =>
  fixture.child ? undefined : 'the fixture has no store that outlives a process';

export const killCases: readonly ConformanceCase[] = [
  {
    name: 'SIGKILL between receive and handle: everything comes again, counted as an attempt',
    unless: needsChild,
    async run(fixture) {
      const ids = await publishSome(fixture, 12);
      const received = await killAfter(fixture, 'receive', 5);
      const rest = await consumeRest(fixture, 12);
      assert.deepEqual([...rest.keys()].sort(), [...ids].sort());
      for (const id of received) assert.equal(rest.get(id), 2);
    },
  },
  {
    name: 'SIGKILL in the handler: the message comes again',
    unless: needsChild,
    async run(fixture) {
      const ids = await publishSome(fixture, 5);
      const handling = await killAfter(fixture, 'handle', 1);
      const rest = await consumeRest(fixture, 5);
      assert.deepEqual([...rest.keys()].sort(), [...ids].sort());
      assert.equal(rest.get(handling[0] ?? ''), 2);
    },
  },
  {
    name: 'SIGKILL between handle and ack: nothing is lost; only what was in flight may come twice',
    unless: needsChild,
    async run(fixture) {
      const ids = await publishSome(fixture, 2_000);
      const handled = new Set(await killAfter(fixture, 'ack', 300));
      const unhandled = ids.filter((id) => !handled.has(id));
      const rest = await consumeRest(fixture, unhandled.length);
      for (const id of unhandled) assert.ok(rest.has(id), `${id} is lost`);
      const twice = [...rest.keys()].filter((id) => handled.has(id)).length;
      assert.ok(twice <= 8, `${twice} came twice; the prefetch is 8`);
    },
  },
  {
    name: 'what was settled before a kill stays settled',
    unless: needsChild,
    async run(fixture) {
      const ids = await publishSome(fixture, 60);
      const handled = await killAfter(fixture, 'settled', 40);
      const rest = await consumeRest(fixture, ids.length - handled.length);
      // One at a time with two on hand: all but the last few were settled before the next began.
      for (const id of handled.slice(0, -2)) assert.ok(!rest.has(id), `${id} was settled and came again`);
    },
  },
  {
    name: 'SIGKILL between confirms: every confirmed message is there',
    unless: needsChild,
    async run(fixture) {
      await publishSome(fixture, 0);
      const confirmed = await killAfter(fixture, 'confirm', 200);
      const rest = await consumeRest(fixture, confirmed.length);
      for (const id of confirmed) assert.ok(rest.has(id), `${id} was confirmed and is lost`);
    },
  },
  {
    name: 'a message that kills its process every time ends as a dead letter',
    unless: needsChild,
    async run(fixture) {
      const [id] = await publishSome(fixture, 1);
      for (let life = 0; life < 3; life += 1) await killAfter(fixture, 'handle', 1);
      await withBus({
        fixture,
        channels: [plain],
        prepare: (bus) =>
          void bus.subscribe(plain, {
            name: 'one',
            retries: { immediate: 0, delayed: [], abandoned: 3 },
            handler: () => deadLetter('was handled a fourth time'),
          }),
        async use(bus) {
          const [letter] = await eventually(
            () => bus.deadLetters.list(),
            (found) => found.length === 1,
            'the dead letter',
          );
          assert.equal(letter?.messageId, id);
          assert.deepEqual(
            letter?.history.map(({ kind }) => kind),
            ['abandoned', 'abandoned', 'abandoned'],
          );
        },
      });
    },
  },
];
