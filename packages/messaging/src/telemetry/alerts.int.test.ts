/**
 * What alerts and traces stand on, as cases that a planted defect has to fail: settlements that came too late, what waits for a time, what failed, and the context that goes from
 * a publisher over its handler to what that publishes. The defects lie between the bus and its telemetry, each a mistake that an implementation of the port could make; names, units
 * and the rest of the attributes are in open-telemetry.int.test.ts.
 */
import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';
import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { type Bus, createBus } from '../bus.ts';
import { defineChannel } from '../channel.ts';
import { caseNamed, registerControls } from '../conformance/controls.ts';
import { Collector, eventually } from '../conformance/fixture.ts';
import { createInProcessEngine } from '../engines/embedded/engine.ts';
import type { Engine, SettleResult, SubscriptionView } from '../engine.ts';
import { ack, retry, snooze } from '../outcome.ts';
import type { BusTelemetry, Telemetry } from '../telemetry.ts';
import { createScriptedEngine, deliveryOf } from '../testing/scripted-engine.ts';
import { openTelemetry } from './open-telemetry.ts';
import { idOf, linkedTo, recordedMetrics, useSpans } from './testing/recorded.ts';

const schema = Type.Object({ n: Type.Integer() });
const placed = defineChannel({ name: 'order.placed', version: 1, schema });
const reminded = defineChannel({
  name: 'order.reminded',
  version: 1,
  schema,
});
const { tracer, all } = useSpans();

/** Stands between the bus and its telemetry; without one it is as it is. */
type Plant = (telemetry: Telemetry) => Telemetry;

interface SightCase {
  readonly name: string;
  readonly run: (plant: Plant) => Promise<void>;
}

interface Sight {
  readonly bus: Bus;
  /** The values of one metric of the toolkit, a value for each set of attributes. */
  readonly values: (name: string) => Promise<readonly unknown[]>;
}

async function withSight(plant: Plant, engine: Engine, use: (sight: Sight) => Promise<void>): Promise<void> {
  const recorded = recordedMetrics();
  const telemetry = plant(openTelemetry({ tracer, meter: recorded.meter }));
  const bus = createBus({ engine, source: '/t', telemetry });
  const values: Sight['values'] = async (name) => {
    const taken = await recorded.take();
    const last = taken.findLast(({ descriptor }) => descriptor.name === `doorbuster.messaging.${name}`);
    return (last?.dataPoints ?? []).map(({ value }) => value);
  };
  try {
    await use({ bus, values });
  } finally {
    await bus.stop({ drainMs: 0 });
    await recorded.end();
  }
}

const inProcess = (): Engine => createInProcessEngine(new DatabaseSync(':memory:'));

const lateSettlements: SightCase = {
  name: 'settlements after the end of their lease are counted, those in time are not',
  async run(plant) {
    const settle = async (settlements: readonly { token: unknown }[]): Promise<SettleResult[]> =>
      settlements.map(({ token }) => (token === 2 ? 'settled' : 'lost'));
    const engine = createScriptedEngine({ settle });
    await withSight(plant, engine, async ({ bus, values }) => {
      bus.declare([placed]);
      bus.subscribe(placed, { name: 'one', handler: () => ack() });
      await bus.start();
      engine.hand('one', ...[1, 2, 3].map((token) => deliveryOf(token, { type: placed.name })));
      await eventually(
        async () => engine.settled,
        ({ length }) => length === 3,
        'all three are settled',
      );
      await bus.stop();
      assert.deepEqual(await values('lost_settlements'), [2]);
    });
  },
};

const waitsForATime: SightCase = {
  name: 'what waits for a time is told apart from what waits for a handler',
  run: (plant) =>
    withSight(plant, inProcess(), async ({ bus, values }) => {
      bus.declare([placed]);
      bus.subscribe(placed, {
        name: 'one',
        concurrency: 1,
        handler: ({ data }) => (data.n > 3 ? new Promise<never>(() => {}) : snooze(3_600_000)),
      });
      await bus.start();
      await bus.publishBatch(
        placed,
        [1, 2, 3, 4, 5, 6, 7].map((n) => ({ data: { n } })),
      );
      await eventually(
        () => bus.view(),
        ({ channels }) =>
          channels[0]?.subscriptions[0]?.inFlight === 2 && channels[0].subscriptions[0].ready === 2,
        'three sleep, one is handled, one is on hand and two wait',
      );
      assert.deepEqual(await values('subscription.delayed'), [3]);
      assert.deepEqual(await values('subscription.ready'), [2]);
      assert.deepEqual(await values('subscription.in_flight'), [2]);
    }),
};

const failures: SightCase = {
  name: 'what failed is counted: followed by another attempt, or parked',
  run: (plant) =>
    withSight(plant, inProcess(), async ({ bus, values }) => {
      bus.declare([placed]);
      bus.subscribe(placed, {
        name: 'one',
        retries: { immediate: 2, delayed: [] },
        handler: () => retry({ reason: 'no' }),
      });
      await bus.start();
      await bus.publish(placed, { n: 1 });
      await eventually(
        () => bus.deadLetters.list(),
        ({ length }) => length === 1,
        'the dead letter',
      );
      assert.deepEqual(await values('retries'), [2]);
      assert.deepEqual(await values('dead_letters'), [1]);
      assert.deepEqual(await values('subscription.parked'), [1]);
    }),
};

const oneTrace: SightCase = {
  name: 'a message leads to its handler by a link, and the handler to what it publishes as its parent',
  run: (plant) =>
    withSight(plant, inProcess(), async ({ bus }) => {
      bus.declare([placed, reminded]);
      const mails = new Collector<string>();
      bus.subscribe(placed, {
        name: 'one',
        handler: async ({ data }, { publish }) => {
          mails.add((await publish(reminded, data)).id);
          return ack();
        },
      });
      await bus.start();
      const { id } = await bus.publish(placed, { n: 1 });
      const [mail] = await mails.waitFor(1);
      await bus.stop();
      const spanOf = (operation: string, message: string | undefined): ReadableSpan | undefined =>
        all().find(
          ({ attributes }) =>
            attributes['messaging.operation.name'] === operation &&
            attributes['messaging.message.id'] === message,
        );
      const processed = spanOf('process', id);
      assert.ok(processed);
      assert.deepEqual(linkedTo(processed), [idOf(spanOf('send', id))]);
      assert.equal(spanOf('send', mail)?.parentSpanContext?.spanId, idOf(processed));
      assert.equal(spanOf('ack', id)?.parentSpanContext?.spanId, idOf(processed));
    }),
};

const cases = [lateSettlements, waitsForATime, failures, oneTrace];

const within =
  (change: (real: BusTelemetry) => Partial<BusTelemetry>): Plant =>
  (telemetry) => ({
    attach(bus) {
      const real = telemetry.attach(bus);
      const bound: BusTelemetry = {
        publish: (batch, temporary, send) => real.publish(batch, temporary, send),
        process: (handOut, handle) => real.process(handOut, handle),
        settle: (settling, settle) => real.settle(settling, settle),
        failed: (failure) => real.failed(failure),
        started: () => real.started(),
        stopped: () => real.stopped(),
      };
      return { ...bound, ...change(real) };
    },
  });

const inViews =
  (change: (view: SubscriptionView) => SubscriptionView): Plant =>
  (telemetry) => ({
    attach: (bus) =>
      telemetry.attach({
        ...bus,
        async view() {
          const view = await bus.view();
          const channels = (view?.channels ?? []).map((channel) => ({
            ...channel,
            subscriptions: channel.subscriptions.map(change),
          }));
          return view && { ...view, channels };
        },
      }),
  });

/** Each with a part of the name of the case that has to see it. */
const defects: readonly (readonly [defect: string, seenBy: string, plant: Plant])[] = [
  [
    'a lost settlement is not counted',
    'after the end of their lease',
    within((real) => ({
      async settle(settling, settle) {
        let results: readonly SettleResult[] = [];
        await real.settle(settling, async () => {
          results = await settle();
          return results.map(() => 'settled');
        });
        return results;
      },
    })),
  ],
  [
    'every settlement counts as lost',
    'after the end of their lease',
    within((real) => ({
      settle: (settling, settle) => real.settle(settling, async () => (await settle()).map(() => 'lost')),
    })),
  ],
  ['delayed reads ready', 'what waits for a time', inViews((view) => ({ ...view, delayed: view.ready }))],
  [
    'ready takes in what is delayed',
    'what waits for a time',
    inViews((view) => ({ ...view, ready: view.ready + view.delayed })),
  ],
  ['the backlog is not watched', 'what waits for a time', within(() => ({ started: () => {} }))],
  ['failures are not told', 'what failed is counted', within(() => ({ failed: () => {} }))],
  [
    'a retry is told as a dead letter',
    'what failed is counted',
    within((real) => ({ failed: (failure) => real.failed({ ...failure, outcome: 'deadLetter' }) })),
  ],
  [
    'dead letters are not in the view',
    'what failed is counted',
    inViews((view) => ({ ...view, deadLetters: [] })),
  ],
  [
    'the context does not go out with the message',
    'a message leads to its handler',
    within((real) => ({
      publish: (batch, temporary, send) => real.publish(batch, temporary, () => send(batch)),
    })),
  ],
  [
    'the handler runs outside of its span',
    'a message leads to its handler',
    within((real) => ({
      async process(handOut, handle) {
        const outcomes = await handle();
        return real.process(handOut, () => outcomes);
      },
    })),
  ],
];

describe('sight', () => {
  it.each(cases)('$name', async ({ run }) => {
    await expect(run((telemetry) => telemetry)).resolves.toBeUndefined();
  });

  registerControls(
    it,
    'telemetry',
    defects.map(([defect, part, plant]) => {
      const { name, run } = caseNamed(cases, part);
      return {
        defect,
        caughtBy: name,
        healthy: () => run((telemetry) => telemetry),
        defective: () => run(plant),
      };
    }),
  );
});
