/** Consumers that come and go, and what carries them breaking: nothing is lost, and the order of a key holds through all of it. */
import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import type { Bus, Subscription } from '../bus.ts';
import { pause, systemClock } from '../clock.ts';
import type { Capabilities } from '../engine.ts';
import { ack, deadLetter } from '../outcome.ts';
import { plain, sequenced } from './channels.ts';
import {
  Collector,
  type EngineFixture,
  eventually,
  type FixtureTraits,
  numbers,
  patience,
  settleIn,
  withBus,
} from './fixture.ts';
import type { ConformanceCase } from './suite.ts';

const noOrder = ({ orderPerKey }: Capabilities): string | undefined =>
  orderPerKey === 'none' ? 'the engine has no order per key' : undefined;
const cannotBreak = (_: unknown, { breakConnections }: FixtureTraits): string | undefined =>
  breakConnections ? undefined : 'the fixture has no connection that could break';
const cannotRestart = (_: unknown, { restartServer }: FixtureTraits): string | undefined =>
  restartServer ? undefined : 'the fixture has no server of its own that could be killed';

const KEYS = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];

/** The first time each number of a key came: repeats are allowed by "at least once", another order is not. */
function firstOfKey(values: readonly (readonly [string, number])[], key: string): readonly number[] {
  return [...new Set(values.filter(([one]) => one === key).map(([, n]) => n))];
}

/** An engine may wait some seconds between two tries to connect, and a busy machine makes more of them; who is not back by then, ms, says why. */
const backWithin = (): number => 1.5 * patience();

/** Publishes again with the same id as long as the engine says that it may; that is what an outbox does. */
async function publishSurely(bus: Bus, n: number): Promise<void> {
  const id = `00000000-0000-7000-8000-${String(n).padStart(12, '0')}`;
  const end = systemClock.monotonic() + backWithin();
  for (;;) {
    try {
      await answered(bus.publish(plain, { n }, { id }), end);
      return;
    } catch (error) {
      if ((error as { retryable?: boolean }).retryable !== true || systemClock.monotonic() > end) throw error;
      await pause(systemClock, 100);
    }
  }
}

/** Who neither confirms nor refuses is not back either. */
async function answered(published: Promise<unknown>, end: number): Promise<void> {
  const enough = new AbortController();
  const late = pause(systemClock, Math.max(0, end - systemClock.monotonic()), enough.signal);
  try {
    const isAnswered = await Promise.race([published.then(() => true), late.then(() => false)]);
    assert.ok(isAnswered, 'a publish was neither confirmed nor refused');
  } finally {
    enough.abort();
  }
}

/** A subscription that collects while something breaks, and what it got. */
async function collecting(bus: Bus): Promise<Collector<number>> {
  const got = new Collector<number>();
  await bus.subscribe(plain, {
    name: 'one',
    concurrency: 4,
    leaseMs: 2_000,
    handler: async ({ data }) => {
      await pause(systemClock, 1);
      got.add(data.n);
      return ack();
    },
  }).started;
  return got;
}

/** Publishes 1 to `count` one after the other, with `breaking` called at each third of the way. */
async function publishThrough(bus: Bus, count: number, breaking: () => Promise<unknown>): Promise<void> {
  for (const n of numbers(1, count)) {
    await publishSurely(bus, n);
    if (n === Math.floor(count / 3) || n === Math.floor((2 * count) / 3)) await breaking();
  }
}

const allOf = (got: Collector<number>, count: number): Promise<unknown> =>
  eventually(
    async () => new Set(got.values).size,
    (seen) => seen === count,
    `${count} different messages`,
  );

/** What handlers tell of three messages of a key, the first of which takes several leases, while another consumer is there. */
async function toldOfKey(fixture: EngineFixture, leaseMs: number): Promise<readonly string[]> {
  const ours = `lease of ${leaseMs}`;
  const told = new Collector<string>();
  await withBus({
    fixture,
    channels: [sequenced],
    async use(bus) {
      for (const _ of [1, 2])
        await bus.subscribe(sequenced, {
          name: 'one',
          concurrency: 2,
          leaseMs,
          handler: async ({ key, data }) => {
            if (key !== ours) return ack();
            told.add(`begin ${data.n}`);
            if (data.n === 1) await pause(systemClock, 4.5 * leaseMs);
            told.add(`end ${data.n}`);
            return ack();
          },
        }).started;
      await bus.publishBatch(
        sequenced,
        numbers(1, 3).map((n) => ({ data: { n }, options: { key: ours } })),
      );
      await told.waitFor(6);
    },
  });
  return told.values;
}

export const groupCases: readonly ConformanceCase[] = [
  {
    name: 'consumers join and leave while messages flow: nothing is lost, and every key keeps its order',
    unless: noOrder,
    async run(fixture) {
      const got = new Collector<readonly [string, number]>();
      await withBus({
        fixture,
        channels: [sequenced],
        async use(bus) {
          const join = async (): Promise<Subscription> => {
            const subscription = bus.subscribe(sequenced, {
              name: 'one',
              concurrency: 3,
              handler: async ({ key, data }) => {
                await pause(systemClock, 2);
                got.add([key ?? '', data.n]);
                return ack();
              },
            });
            await subscription.started;
            return subscription;
          };
          const members = [await join()];
          for (let round = 0; round < 10; round += 1) {
            await bus.publishBatch(
              sequenced,
              KEYS.flatMap((key) =>
                numbers(1, 5).map((n) => ({ data: { n: round * 5 + n }, options: { key } })),
              ),
            );
            if (round % 2 === 0) members.push(await join());
            else await members.shift()?.stop({ drainMs: 2_000 });
          }
          await eventually(
            async () => new Set(got.values.map(([key, n]) => `${key} ${n}`)).size,
            (seen) => seen === KEYS.length * 50,
            'every message of every key',
          );
        },
      });
      for (const key of KEYS) assert.deepEqual(firstOfKey(got.values, key), numbers(1, 50), `key ${key}`);
    },
  },
  {
    name: 'order per key holds against other consumers while a handler outlasts its lease',
    unless: noOrder,
    async run(fixture) {
      // A machine that stands still for a part of the short lease loses it once; who does not beat loses the long one too.
      const expected = ['begin 1', 'end 1', 'begin 2', 'end 2', 'begin 3', 'end 3'];
      let told: readonly string[] = [];
      for (const leaseMs of [200, 1_200]) {
        told = await toldOfKey(fixture, leaseMs);
        if (isDeepStrictEqual(told, expected)) return;
      }
      assert.deepEqual(told, expected);
    },
  },
  {
    name: 'connections that break under load lose nothing: publishers and consumers come back by themselves',
    unless: cannotBreak,
    run: (fixture) =>
      withBus({
        fixture,
        channels: [plain],
        async use(bus) {
          const got = await collecting(bus);
          const broken: unknown[] = [];
          await publishThrough(bus, 150, async () => broken.push(await fixture.breakConnections?.()));
          await allOf(got, 150);
          assert.ok(
            broken.every((count) => Number(count) > 0),
            `connections that were ended: ${broken.join(' and ')}; where none is, this case shows nothing`,
          );
        },
      }),
  },
  {
    name: 'a server that is killed under load loses nothing it confirmed, and everybody comes back by himself',
    unless: cannotRestart,
    run: (fixture) =>
      withBus({
        fixture,
        channels: [plain],
        async use(bus) {
          await settleIn(bus.subscribe(plain, { name: 'waiting', handler: () => ack() }));
          const got = await collecting(bus);
          const parking = bus.subscribe(plain, {
            name: 'parking',
            handler: ({ data }) => (data.n === 0 ? deadLetter('zero') : ack()),
          });
          await parking.started;
          await publishSurely(bus, 0);
          await eventually(
            () => bus.deadLetters.list(),
            (found) => found.length === 1,
            'the dead letter',
          );
          await publishThrough(bus, 120, async () => fixture.restartServer?.());
          await allOf(got, 121);
          assert.equal((await bus.deadLetters.list()).length, 1, 'dead letters survive');
          const waiting = new Set(
            (await bus.peek(plain, 'waiting', 1_000)).map(({ message }) => message?.id),
          );
          assert.equal(waiting.size, 121, 'a backlog survives');
        },
      }),
  },
];
