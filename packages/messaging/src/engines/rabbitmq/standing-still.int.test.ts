/** A broker that stands still as a bus stops: its connections stay and nothing is answered, or they break while it is waited for. */
import { connect } from 'amqplib';
import { afterAll, describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../../bus.ts';
import { type Clock, pause, systemClock } from '../../clock.ts';
import { registerControls } from '../../conformance/controls.ts';
import type { Engine } from '../../engine.ts';
import { ack } from '../../outcome.ts';
import { createRabbitFixture, inOrder, orders, rabbitUrl, removeLadder } from './conformance-fixture.ts';
import { createCutter, type Cutter } from './cutter.ts';

const LADDER = 'standing.';
/** Many times what a healthy one takes on a machine that rests. */
const PATIENCE_MS = 2_500;
/** The engine's limits are seconds. */
const HASTE = 50;

/** From the moment on that the broker stands still, the engine's timers fire so much sooner, or never: then nothing but the broker ends a wait. */
type Pace = 'hasty' | 'patient';

function clockOf(pace: Pace) {
  let stands = false;
  const later =
    pace === 'hasty' ? (ms: number, fn: () => void) => systemClock.setTimer(ms / HASTE, fn) : () => () => {};
  const clock: Clock = {
    ...systemClock,
    setTimer: (ms, fn) => (stands ? later(ms, fn) : systemClock.setTimer(ms, fn)),
  };
  return {
    clock,
    stand: () => {
      stands = true;
    },
  };
}

async function inTime(work: Promise<unknown>): Promise<void> {
  const over = new AbortController();
  const late = pause(systemClock, PATIENCE_MS, over.signal).then(() => {
    if (!over.signal.aborted) throw new Error(`the stop has not ended within ${PATIENCE_MS} ms`);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    over.abort();
  }
}

type Subscribe = (bus: Bus) => void;

const onlyPublishes: Subscribe = () => {};
const handles: Subscribe = (bus) => {
  bus.subscribe(orders, { name: 'one', handler: () => ack() });
  bus.subscribe(inOrder, { name: 'one', handler: () => ack() });
};

/** A bus whose broker stands still when `stopping` is called. */
async function stops(
  pace: Pace,
  subscribe: Subscribe,
  stopping: (bus: Bus, asked: Promise<void>, cutter: Cutter) => Promise<void>,
): Promise<void> {
  const fixture = await createRabbitFixture({ ladderPrefix: LADDER });
  const cutter = await createCutter(rabbitUrl ?? '');
  const { clock, stand } = clockOf(pace);
  const real = fixture.engine({ url: cutter.url });
  const engine: Engine = { ...real, connect: (context) => real.connect({ ...context, clock }) };
  const bus = createBus({ engine, source: '/standing' });
  try {
    bus.declare([orders, inOrder]);
    subscribe(bus);
    await bus.start();
    await bus.publish(orders, { n: 1 });
    const asked = cutter.halt();
    stand();
    await stopping(bus, asked, cutter);
  } finally {
    await cutter.close();
    await fixture.destroy();
  }
}

/** Its connections stay. */
const stopEnds = (pace: Pace, subscribe: Subscribe): Promise<void> =>
  stops(pace, subscribe, (bus) => inTime(bus.stop({ drainMs: 10 })));

/** Its connections break once the stop waits for it. */
const stopEndsWhenBroken = (pace: Pace, subscribe: Subscribe): Promise<void> =>
  stops(pace, subscribe, async (bus, asked, cutter) => {
    const stopping = bus.stop({ drainMs: 10 });
    await asked;
    cutter.slam();
    await inTime(stopping);
  });

describe.skipIf(rabbitUrl === undefined)(
  'a RabbitMQ broker that stands still (needs RABBITMQ_URL)',
  { timeout: 30_000 },
  () => {
    afterAll(() => removeLadder(LADDER));

    registerControls(
      it,
      'rabbitmq',
      [
        { subscribe: onlyPublishes, what: 'a bus that only publishes' },
        { subscribe: handles, what: 'a bus with subscriptions' },
      ].map(({ subscribe, what }) => ({
        defect: 'a broker is waited for as long as it takes',
        caughtBy: `the stop of ${what} ends while the broker stands still`,
        healthy: () => stopEnds('hasty', subscribe),
        defective: () => stopEnds('patient', subscribe),
      })),
    );

    it.each([
      ['that only publishes', onlyPublishes],
      ['with subscriptions', handles],
    ])('the stop of a bus %s ends with its connections, and without a timer', async (_, subscribe) => {
      await expect(stopEndsWhenBroken('patient', subscribe)).resolves.toBeUndefined();
    });

    it('control: the close of the bare client is pending for ever when its connection breaks meanwhile', async () => {
      const cutter = await createCutter(rabbitUrl ?? '');
      const model = await connect(cutter.url);
      try {
        model.on('error', () => {});
        const broken = new Promise((resolve) => model.once('close', resolve));
        const asked = cutter.halt();
        let isSettled = false;
        const settle = (): void => {
          isSettled = true;
        };
        model.close().then(settle, settle);
        await asked;
        cutter.slam();
        await broken;
        await new Promise((resolve) => setImmediate(resolve));
        expect(isSettled).toBe(false);
      } finally {
        await cutter.close();
      }
    });
  },
);
