/**
 * A rewind is two steps on Kafka where something waits that no log of the channel has: it is stored again behind the end of the subscription's own log, and then the group begins
 * there. These cases come between the two. What waits is a correction that failed, and it comes once.
 */
import assert from 'node:assert/strict';
import { type Bus, createBus } from '../../bus.ts';
import { kept } from '../../conformance/channels.ts';
import { Collector, type EngineFixture, eventually, signal } from '../../conformance/fixture.ts';
import type { ConformanceCase } from '../../conformance/suite.ts';
import { ack, deadLetter, retry } from '../../outcome.ts';
import { Link } from './link.ts';
import { replace } from './own-defects.ts';
import { allSettled } from './redrive-cases.ts';

const CORRECTION = 101;
const PUT_OFF_MS = 300;

/** Leaves on the brokers what a process leaves that is killed when it has stored what waits and not moved the group yet. */
async function killedRewind(bus: Bus): Promise<void> {
  const killed = new Error('killed');
  const undo = replace(
    Link.prototype,
    'atCoordinator',
    (original) =>
      function (this: Link, group: string, api: string, ...args: never[]) {
        return api === 'OffsetCommit' ? Promise.reject(killed) : original.call(this, group, api, ...args);
      } as typeof original,
  );
  try {
    await assert.rejects(bus.rewind(kept, 'one', 'earliest'), /killed/);
  } finally {
    undo();
  }
}

/** One message, and its correction that waits to be tried again. */
async function putOffCorrection(bus: Bus): Promise<void> {
  const corrected = signal();
  const failing = bus.subscribe(kept, {
    name: 'one',
    handler: ({ data }) => {
      if (data.n !== CORRECTION) return deadLetter('broken');
      corrected.fire();
      return retry({ delayMs: PUT_OFF_MS });
    },
  });
  await failing.started;
  await bus.publish(kept, { n: 1 });
  const [letter] = await eventually(
    () => bus.deadLetters.list(),
    (found) => found.length === 1,
    'a dead letter',
  );
  assert.ok(letter && (await bus.deadLetters.redriveEdited(letter, { n: CORRECTION })));
  await corrected.fired;
  await failing.stop();
}

/** A correction that waits, some rewinds, and then whoever handles it: what came, in no order. */
async function afterRewinds(
  fixture: EngineFixture,
  rewinds: (bus: Bus) => Promise<void>,
): Promise<readonly number[]> {
  const bus = createBus({ engine: fixture.open(), source: '/rewind' });
  const got = new Collector<number>();
  bus.declare([kept]);
  await bus.start();
  try {
    await putOffCorrection(bus);
    await rewinds(bus);
    await bus.subscribe(kept, {
      name: 'one',
      handler: ({ data }) => {
        got.add(data.n);
        return ack();
      },
    }).started;
    await got.waitFor(1);
    await allSettled(bus);
  } finally {
    await bus.stop({ drainMs: 0 });
  }
  return got.values.toSorted((a, b) => a - b);
}

export const rewindCases: readonly ConformanceCase[] = [
  {
    name: 'a rewind is killed in its middle: what waited comes once, where it was, also when nobody repeats it',
    run: async (fixture) => {
      const came = await afterRewinds(fixture, async (bus) => {
        await killedRewind(bus);
        await killedRewind(bus);
        const shown = await eventually(
          () => bus.peek(kept, 'one'),
          ({ length }) => length > 0,
          'its time',
        );
        assert.deepEqual(
          shown.map(({ message }) => message?.data),
          [{ n: CORRECTION }],
        );
      });
      assert.deepEqual(came, [CORRECTION]);
    },
  },
  {
    name: 'a rewind is killed in its middle and is repeated: what waited comes once, and the channel again',
    run: async (fixture) => {
      const came = await afterRewinds(fixture, async (bus) => {
        await killedRewind(bus);
        await killedRewind(bus);
        await bus.rewind(kept, 'one', 'earliest');
      });
      assert.deepEqual(came, [1, CORRECTION]);
    },
  },
];
