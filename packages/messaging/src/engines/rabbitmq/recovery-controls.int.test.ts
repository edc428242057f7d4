/**
 * Coming back, with the defence off: an engine whose waits before another try never end, from the fault on. What brings back a lost connection and a deleted
 * queue is behind such a wait, so the same case has to fail with it.
 */
import { afterAll, describe, it } from 'vitest';
import { type Bus, createBus } from '../../bus.ts';
import { onFixture, registerControls } from '../../conformance/controls.ts';
import { Collector, type EngineFixture, eventually, limitPatience } from '../../conformance/fixture.ts';
import type { Engine } from '../../engine.ts';
import { ack } from '../../outcome.ts';
import {
  createRabbitFixture,
  onBroker,
  type RabbitFixture,
  rabbitUrl,
  removeLadder,
  orders,
} from './conformance-fixture.ts';
import { breakingControls, neverTryingAgain } from '../../testing/planted-controls.ts';
import { stallingClock } from '../../testing/stalling-clock.ts';

const LADDER = 'recovery.';
/** A healthy engine needs a fraction of a second, and on a machine with other work more than one that waits in vain is given. */
const PATIENCE_MS = 6_000;
const VAIN_MS = 2_000;

type Fault = (fixture: RabbitFixture) => Promise<unknown>;

/** Messages before and after the fault are handled. */
async function comesBack(fixture: RabbitFixture, fault: Fault, isDefective: boolean): Promise<void> {
  const { clock, stall, letGo } = stallingClock();
  const real = fixture.open();
  const engine: Engine = {
    ...real,
    connect: (context) => real.connect({ ...context, clock }),
  };
  const bus: Bus = createBus({ engine, source: '/recovery' });
  bus.declare([orders]);
  await bus.start();
  try {
    const got = new Collector<number>();
    await bus.subscribe(orders, {
      name: 'one',
      handler: ({ data }) => {
        got.add(data.n);
        return ack();
      },
    }).started;
    await bus.publish(orders, { n: 1 });
    await got.waitFor(1);
    if (isDefective) {
      stall();
      limitPatience(VAIN_MS);
    }
    await fault(fixture);
    await eventually(
      async () => {
        await bus.publish(orders, { n: 2 }).catch(() => {});
        return got.values;
      },
      (values) => values.includes(2),
      'a message after the fault',
    );
  } finally {
    letGo();
    limitPatience(PATIENCE_MS);
    await bus.stop({ drainMs: 1_000 });
  }
}

/** What it waits for after the break it waits for in vain. */
function hopeless(fixture: RabbitFixture): EngineFixture {
  const stalling = neverTryingAgain(fixture);
  return {
    ...stalling,
    breakConnections: async () => {
      limitPatience(VAIN_MS);
      return (await stalling.breakConnections?.()) ?? 0;
    },
  };
}

const faults: Readonly<Record<string, Fault>> = {
  'a queue deleted by mistake': ({ prefix }) => onBroker((amqp) => amqp.deleteQueue(`${prefix}orders/s/one`)),
  'connections that end without a word': ({ breakConnections }) =>
    breakConnections?.() ?? Promise.reject(new Error('the fixture cannot break connections')),
};

limitPatience(PATIENCE_MS);

describe.skipIf(rabbitUrl === undefined)(
  'coming back on RabbitMQ (needs RABBITMQ_URL)',
  { timeout: 60_000 },
  () => {
    afterAll(() => removeLadder(LADDER));
    const create = () => createRabbitFixture({ ladderPrefix: LADDER });
    registerControls(
      it,
      'rabbitmq',
      Object.entries(faults).map(([caughtBy, fault]) => ({
        defect: 'never tries again',
        caughtBy,
        healthy: () => onFixture(create, (fixture) => comesBack(fixture, fault, false)),
        defective: () => onFixture(create, (fixture) => comesBack(fixture, fault, true)),
      })),
    );

    registerControls(
      it,
      'rabbitmq',
      breakingControls(create, hopeless).map((control) => ({
        ...control,
        defective: () => control.defective().finally(() => limitPatience(PATIENCE_MS)),
      })),
    );
  },
);
