/**
 * A redrive is two steps on Kafka, copies and then ends of letters, so these cases come between the two: another process that redrives the same letters, and a
 * SIGKILL. Every message is handled once in each of them, also without an inbox.
 */
import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import { type Bus, createBus } from '../../bus.ts';
import { systemClock } from '../../clock.ts';
import { plain, sequenced } from '../../conformance/channels.ts';
import { startChild } from '../../conformance/child-process.ts';
import { Collector, type EngineFixture, eventually, numbers, withBus } from '../../conformance/fixture.ts';
import type { ConformanceCase } from '../../conformance/suite.ts';
import { alreadyHandled, inboxSchema } from '../../inbox.ts';
import { ack, deadLetter } from '../../outcome.ts';
import type { KafkaFixture } from './conformance-fixture.ts';
import { endLettersLate } from './own-defects.ts';

const LETTERS = 250;
/** What the desk moves in one step: it was killed in the first. */
const STEP = 200;
const noRetries = { immediate: 0, delayed: [] };
type Numbered = typeof plain | typeof sequenced;

/** Dead letters of messages 1 to `LETTERS`, on a keyed channel of five keys; the consumer has left. */
async function park(bus: Bus, channel: Numbered): Promise<void> {
  const parking = bus.subscribe(channel as typeof plain, {
    name: 'one',
    concurrency: 16,
    retries: noRetries,
    handler: () => deadLetter('broken'),
  });
  await parking.started;
  await bus.publishBatch(
    channel as typeof plain,
    numbers(1, LETTERS).map((n) => ({
      data: { n },
      options: channel === sequenced ? { key: `key-${n % 5}` } : {},
    })),
  );
  await lettersLeft(bus, LETTERS);
  await parking.stop();
}

const lettersLeft = (bus: Bus, count: number): Promise<unknown> =>
  eventually(
    async () => (await bus.deadLetters.list({}, { limit: 1_000 })).length,
    (length) => length === count,
    `${count} dead letters`,
  );

/** Nothing waits any more and nothing is out: who has come until then has come. */
export const allSettled = (bus: Bus): Promise<unknown> =>
  eventually(
    async () => (await bus.view()).channels[0]?.subscriptions[0],
    (view) => view !== undefined && view.ready + view.inFlight + view.delayed + view.waitingForKey === 0,
    'everything settled',
  );

/** Handles from here on; every number as often as it came. */
async function handleAll(bus: Bus, channel: Numbered): Promise<Collector<number>> {
  const got = new Collector<number>();
  await bus.subscribe(channel as typeof plain, {
    name: 'one',
    concurrency: 8,
    handler: ({ data }) => {
      got.add(data.n);
      return ack();
    },
  }).started;
  return got;
}

const inOrder = (values: readonly number[]): readonly number[] => values.toSorted((a, b) => a - b);

function atOnce(channel: Numbered): ConformanceCase {
  return {
    name: `two processes redrive the same ${channel === sequenced ? 'parked sequences' : 'letters'} at once: each message comes back once`,
    run: async (fixture) => {
      const buses = [1, 2].map((n) => {
        const bus = createBus({ engine: fixture.open(), source: `/${n}` });
        bus.declare([channel]);
        return bus;
      });
      const [first, second] = buses as [Bus, Bus];
      await first.start();
      const undo = endLettersLate(2);
      try {
        await park(first, channel);
        // A process looks for the subscriptions of others when it starts.
        await second.start();
        undo.begin();
        const got = await handleAll(first, channel);
        const moves = await Promise.all(buses.map((bus) => bus.deadLetters.redrive({})));
        assert.ok(moves.reduce((sum, { moved }) => sum + moved, 0) > LETTERS, 'both have moved the same');
        await got.waitFor(LETTERS);
        await allSettled(first);
        assert.deepEqual(inOrder(got.values), numbers(1, LETTERS));
        if (channel === sequenced)
          for (const key of numbers(0, 4)) {
            const ofKey = got.values.filter((n) => n % 5 === key);
            assert.deepEqual(ofKey, inOrder(ofKey), `key-${key}`);
          }
        assert.deepEqual(await second.deadLetters.list(), []);
      } finally {
        undo.end();
        for (const bus of buses) await bus.stop({ drainMs: 0 });
      }
    },
  };
}

/** Parks, and has a process redrive that is killed when it has stored the messages of its first step and ended none of their letters. */
async function killInTheMiddle(fixture: EngineFixture, bus: Bus): Promise<void> {
  await park(bus, plain);
  const entry = new URL('./redrive-child.ts', import.meta.url);
  const victim = startChild(entry, [(fixture as KafkaFixture).child?.argument ?? '']);
  try {
    assert.equal(await victim.line('copied'), `copied ${STEP}`);
  } finally {
    victim.send('SIGKILL');
    await victim.ended;
  }
  await lettersLeft(bus, LETTERS);
}

export interface AfterKill {
  readonly moved: number;
  /** How often each number came to the handler. */
  readonly handled: readonly number[];
  /** How often each had its effect, by an inbox. */
  readonly effects: readonly number[];
  readonly letters: number;
}

/** A second redrive goes on where the first was killed, before anybody has handled what that one had stored. */
export async function redriveAfterKill(fixture: EngineFixture): Promise<AfterKill> {
  const db = new DatabaseSync(':memory:');
  db.exec(inboxSchema);
  const came = new Map<number, number>();
  const effects = new Map<number, number>();
  const count = (map: Map<number, number>, n: number): unknown => map.set(n, (map.get(n) ?? 0) + 1);
  let found: AfterKill | undefined;
  await withBus({
    fixture,
    channels: [plain],
    async use(bus) {
      await killInTheMiddle(fixture, bus);
      const { moved } = await bus.deadLetters.redrive({});
      await bus.subscribe(plain, {
        name: 'one',
        concurrency: 8,
        handler({ id, data }) {
          count(came, data.n);
          db.exec('BEGIN IMMEDIATE');
          const isRepeat = alreadyHandled(db, { subscription: 'one', messageId: id, now: systemClock.now() });
          if (!isRepeat) count(effects, data.n);
          db.exec('COMMIT');
          return ack();
        },
      }).started;
      await allSettled(bus);
      const letters = await bus.deadLetters.list({}, { limit: 1_000 });
      const timesOf = (map: Map<number, number>) => numbers(1, LETTERS).map((n) => map.get(n) ?? 0);
      found = { moved, handled: timesOf(came), effects: timesOf(effects), letters: letters.length };
    },
  });
  assert.ok(found);
  return found;
}

export const once = Array.from({ length: LETTERS }, () => 1);

export const redriveCases: readonly ConformanceCase[] = [
  atOnce(plain),
  atOnce(sequenced),
  {
    name: 'SIGKILL in the middle of a redrive: a second one goes on, nothing is lost, each message comes back once',
    run: async (fixture) => {
      assert.deepEqual(await redriveAfterKill(fixture), {
        moved: LETTERS,
        handled: once,
        effects: once,
        letters: 0,
      });
    },
  },
  {
    name: 'what a killed redrive had stored is handled, and its letters end with it: a second redrive moves the rest',
    run: (fixture) =>
      withBus({
        fixture,
        channels: [plain],
        async use(bus) {
          await killInTheMiddle(fixture, bus);
          const got = await handleAll(bus, plain);
          await got.waitFor(STEP);
          await lettersLeft(bus, LETTERS - STEP);
          const { moved } = await bus.deadLetters.redrive({});
          assert.equal(moved, LETTERS - STEP);
          await got.waitFor(LETTERS);
          await allSettled(bus);
          assert.deepEqual(inOrder(got.values), numbers(1, LETTERS));
        },
      }),
  },
];
