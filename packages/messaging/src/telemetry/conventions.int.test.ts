/**
 * That spans and metrics carry what the conventions ask for, held against a list that is theirs (testing/conventions.ts) and not against names written down here, and that
 * the page says of every name of that list whether it is set. Each engine is asked for its address and its groups as it is made; what is behind it is the in-process store,
 * so no server is needed: the same on servers, with what only they know, is in servers.int.test.ts.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { type Attributes, metrics, SpanKind, SpanStatusCode, trace, type Tracer } from '@opentelemetry/api';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';
import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { createBus } from '../bus.ts';
import { defineChannel } from '../channel.ts';
import { caseNamed, registerControls } from '../conformance/controls.ts';
import { engineFromUrl } from '../engine-from-url.ts';
import { createInProcessEngine } from '../engines/embedded/engine.ts';
import type { ServerAddress } from '../engine.ts';
import { ack, reply } from '../outcome.ts';
import type { Telemetry } from '../telemetry.ts';
import { CONVENTIONS_VERSION } from './attributes.ts';
import { openTelemetry } from './open-telemetry.ts';
import {
  type Asked,
  type Condition,
  METRICS,
  SOURCE_VERSION,
  SPANS,
  SPANS_OF,
  type SpanType,
} from './testing/conventions.ts';
import { recordedMetrics, useSpans } from './testing/recorded.ts';

const schema = Type.Object({ n: Type.Integer() });
const placed = defineChannel({ name: 'order.placed', version: 1, schema });
const wanted = defineChannel({ name: 'mail.wanted', version: 1, schema });
const asked = defineChannel({ name: 'price.asked', version: 1, schema, reply: schema });
const { tracer, all, spansOnceThere } = useSpans();

/** Between the bus and its telemetry, or between that and the SDK. */
interface Plant {
  readonly telemetry?: (real: Telemetry) => Telemetry;
  readonly tracer?: (real: Tracer) => Tracer;
}

interface Watched {
  readonly url: string;
  readonly system: string;
  readonly server?: ServerAddress;
  /** Of the subscription `mailer` of `order.placed`. */
  readonly group?: string;
}

const kafka: Watched = {
  url: 'kafka://broker.example?prefix=shop.',
  system: 'kafka',
  server: { address: 'broker.example', port: 9092 },
  group: 'shop.order.placed-S-mailer',
};
const server = { address: 'broker.example', port: 7000 };
const behind = 'lovelace:secret@broker.example:7000';
const watched: readonly Watched[] = [
  { url: 'sqlite::memory:', system: 'doorbuster' },
  { url: `redis://${behind}/3`, system: 'redis', server, group: 'mailer' },
  { url: `redis-lists://${behind}/3`, system: 'redis', server },
  { url: `redis-pubsub://${behind}/3`, system: 'redis', server },
  { url: `amqps://${behind}/shop`, system: 'rabbitmq', server },
  {
    url: 'amqps://lovelace:secret@broker.example',
    system: 'rabbitmq',
    server: { address: 'broker.example', port: 5671 },
  },
  kafka,
  { ...kafka, url: 'kafka://[::1]:7000?prefix=shop.', server: { address: '::1', port: 7000 } },
  { url: 'kafka://one.example,two.example:7000', system: 'kafka', group: 'doorbuster.order.placed-S-mailer' },
];

interface Recorded {
  /** As a person would look for it. */
  readonly title: string;
  readonly attributes: Attributes;
  readonly asked: readonly Asked[];
  readonly failed: boolean;
  readonly consumed: boolean;
}

interface Seen {
  readonly spans: readonly Recorded[];
  readonly points: readonly Recorded[];
}

/** Without a defect, once for all cases. */
const seen = new Map<Watched, Promise<Seen>>();

function seenOn(on: Watched, plant: Plant | undefined): Promise<Seen> {
  if (plant) return look(on, plant);
  const known = seen.get(on) ?? look(on, {});
  seen.set(on, known);
  return known;
}

/** What came of one of everything: a message alone, a batch, a request, and what fails. */
async function look({ url, system }: Watched, plant: Plant): Promise<Seen> {
  const recorded = recordedMetrics();
  const from = all().length;
  const telemetry = openTelemetry({
    tracer: plant.tracer?.(tracer) ?? tracer,
    meter: recorded.meter,
    createSpans: true,
  });
  const bus = createBus({
    engine: {
      ...(await engineFromUrl(url)),
      connect: (context) => createInProcessEngine(new DatabaseSync(':memory:')).connect(context),
    },
    source: '/t',
    telemetry: plant.telemetry?.(telemetry) ?? telemetry,
  });
  bus.declare([placed, wanted, asked]);
  bus.subscribe(placed, {
    name: 'mailer',
    retries: { immediate: 0, delayed: [] },
    handler({ data }) {
      if (data.n === 0) throw new RangeError('none');
      return ack();
    },
  });
  bus.subscribe(wanted, { name: 'mailer', batch: { max: 2 }, handler: (some) => some.map(() => ack()) });
  bus.subscribe(asked, { name: 'mailer', handler: ({ data }) => reply(data) });
  await bus.start();
  try {
    await bus.publish(placed, { n: 0 }, { correlationId: 'talk-1' });
    await bus.publish(placed, { n: 1 });
    await bus.publishBatch(wanted, [{ data: { n: 1 } }, { data: { n: 2 } }]);
    await bus.request(asked, { n: 1 }, { timeoutMs: 10_000 });
    const tooLarge = bus.publish(placed, { n: 1 }, { headers: { big: 'x'.repeat(2 ** 20) } });
    await assert.rejects(tooLarge, { code: 'DB_MSG_MESSAGE_TOO_LARGE' });
    for (const name of ['ack order.placed', 'dead_letter order.placed', 'ack mail.wanted', 'ack price.asked'])
      await spansOnceThere(name);
  } finally {
    await bus.stop();
  }
  const taken = await recorded.take();
  await recorded.end();
  return {
    spans: all()
      .slice(from)
      .map((span) => ofSpan(span, system)),
    points: Object.entries(METRICS).flatMap(([name, asks]) => {
      const data = taken.findLast(({ descriptor }) => descriptor.name === name)?.dataPoints ?? [];
      assert.ok(data.length > 0, `${name} was never measured`);
      return data.map(
        ({ attributes }): Recorded => ({
          title: name,
          attributes,
          asked: asks,
          // A point has nothing else to tell it by; that some have failed is asserted below.
          failed: false,
          consumed: attributes['messaging.operation.name'] !== 'send',
        }),
      );
    }),
  };
}

function ofSpan({ name, kind, status, attributes }: ReadableSpan, system: string): Recorded {
  const type = typeOf(name, kind);
  return {
    title: name,
    attributes,
    asked: [...SPANS[type], ...(SPANS_OF[system]?.[type] ?? [])],
    failed: status.code === SpanStatusCode.ERROR,
    consumed: type === 'process.consumer' || type === 'settle.client',
  };
}

function typeOf(name: string, kind: SpanKind): SpanType {
  const [operation] = name.split(' ');
  if (operation === 'create') return 'create.producer';
  if (operation === 'send') return kind === SpanKind.PRODUCER ? 'send.producer' : 'send.client';
  return operation === 'process' ? 'process.consumer' : 'settle.client';
}

const isReply = ({ title, attributes }: Recorded): boolean =>
  title.includes('replies.') || 'messaging.destination.template' in attributes;

/** Whether a condition of the conventions is met, by what was done and not by what is set. Left out by decision, and on the page with the reason: never. */
const isMet: Readonly<Record<Condition, (one: Recorded, on: Watched) => boolean>> = {
  'if failed': ({ failed }) => failed,
  'if it has a type': () => true,
  'if of one destination': () => true,
  'if of few values': (one) => !isReply(one),
  'if templated': isReply,
  'if of a batch': ({ attributes }) => !('messaging.message.id' in attributes),
  'if the address is known': (_one, on) => on.server !== undefined,
  'if consumed in a group': ({ consumed }, on) => consumed && on.group !== undefined,
  'if consumed by subscription': ({ consumed }) => consumed,
  'if temporary': isReply,
  // Channels have names.
  'if anonymous': () => false,
  'if routed by a key': () => false,
  'if there is a delivery tag': () => false,
  'if a tombstone': () => false,
};

function missing(recorded: readonly Recorded[], on: Watched): readonly string[] {
  return recorded.flatMap((one) =>
    one.asked.flatMap(([name, level]) => {
      const isAsked = level === 'required' || (level in isMet && isMet[level as Condition](one, on));
      return isAsked && one.attributes[name] === undefined ? [`${one.title}: ${name}`] : [];
    }),
  );
}

interface ConventionCase {
  readonly name: string;
  readonly run: (on: Watched, plant?: Plant) => Promise<void>;
}

const cases: readonly ConventionCase[] = [
  {
    name: 'every span carries what is required of it',
    async run(on, plant) {
      const { spans } = await seenOn(on, plant);
      const kinds = new Set(spans.map(({ title }) => title));
      for (const one of [
        'create mail.wanted',
        'send order.placed',
        'send replies.{id}',
        'process mail.wanted',
      ])
        assert.ok(kinds.has(one), `no span "${one}"`);
      assert.ok(spans.some(({ failed }) => failed));
      assert.deepEqual(missing(spans, on), []);
    },
  },
  {
    name: 'every metric carries what is required of it',
    async run(on, plant) {
      const { points } = await seenOn(on, plant);
      assert.deepEqual(missing(points, on), []);
      for (const name of Object.keys(METRICS).filter((one) => !one.endsWith('consumed.messages')))
        assert.ok(
          points.some(({ title, attributes }) => title === name && 'error.type' in attributes),
          `${name}: nothing failed`,
        );
    },
  },
  {
    name: 'address and group are those of the server, and no secret',
    async run(on, plant) {
      const { spans, points } = await seenOn(on, plant);
      const both = [...spans, ...points];
      const valuesOf = (name: string): unknown[] => [
        ...new Set(both.map(({ attributes }) => attributes[name])),
      ];
      assert.deepEqual(valuesOf('messaging.system'), [on.system]);
      assert.deepEqual(valuesOf('server.address'), [on.server?.address]);
      assert.deepEqual(valuesOf('server.port'), [on.server?.port]);
      const groups = both
        .filter(({ attributes }) => attributes['messaging.destination.name'] === placed.name)
        .map(({ consumed, attributes }) => [consumed, attributes['messaging.consumer.group.name']]);
      for (const [consumed, group] of groups) assert.equal(group, consumed ? on.group : undefined);
      assert.doesNotMatch(JSON.stringify(both.map(({ attributes }) => attributes)), /secret|lovelace/);
    },
  },
];

describe.each(watched)('on $url', (on) => {
  it.each(cases)('$name', async ({ run }) => {
    await expect(run(on)).resolves.toBeUndefined();
  });
});

const without = (name: string): Plant => ({
  tracer: (real) => ({
    startSpan: (title, options, context) => {
      const { [name]: _left, ...attributes } = options?.attributes ?? {};
      return real.startSpan(title, { ...options, attributes }, context);
    },
    startActiveSpan: real.startActiveSpan.bind(real),
  }),
});
const unknownServer: Plant = {
  telemetry: (real) => ({ attach: (bus) => real.attach({ ...bus, server: undefined }) }),
};
const unknownGroup: Plant = {
  telemetry: (real) => ({ attach: (bus) => real.attach({ ...bus, consumerGroupOf: () => undefined }) }),
};

/** Each with a part of the name of the case that has to see it. */
const defects: readonly (readonly [defect: string, seenBy: string, plant: Plant])[] = [
  ['a required name is left out of spans', 'every span', without('messaging.operation.name')],
  ['the name of a destination is left out of spans', 'every span', without('messaging.destination.name')],
  ['the group is left out', 'every span', unknownGroup],
  ['the group is left out', 'every metric', unknownGroup],
  ['the address is left out', 'every metric', unknownServer],
  [
    'the subscription is told as the group',
    'address and group',
    {
      telemetry: (real) => ({
        attach: (bus) => real.attach({ ...bus, consumerGroupOf: ({ subscription }) => subscription }),
      }),
    },
  ],
];

describe('conventions', () => {
  registerControls(
    it,
    'telemetry',
    defects.map(([defect, part, plant]) => {
      const { name, run } = caseNamed(cases, part);
      return { defect, caughtBy: name, healthy: () => run(kafka), defective: () => run(kafka, plant) };
    }),
  );
});

describe('the page of tracing', () => {
  const page = readFileSync(
    new URL('../../../../docs/messaging/patterns/tracing.md', import.meta.url),
    'utf8',
  );
  /** The names in the first column of the table below this heading. */
  const namesBelow = (heading: string): ReadonlySet<string> => {
    const [, below = ''] = page.split(`\n### ${heading}\n`);
    const [section = ''] = below.split(/\n##/);
    const cells = [...section.matchAll(/^\| (`[^|]+) \|/gm)].map(([, cell = '']) => cell);
    return new Set(cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name)));
  };

  it('says of each name of the conventions whether it is set', async () => {
    const { spans, points } = await seenOn(kafka, undefined);
    const set = new Set([...spans, ...points].flatMap(({ attributes }) => Object.keys(attributes)));
    const listed = [SPANS, METRICS, ...Object.values(SPANS_OF)]
      .flatMap((some) => Object.values(some).flat())
      .map(([name]) => name);
    const names = [...new Set(listed)].toSorted();
    expect([...namesBelow('What is set')].toSorted()).toEqual(names.filter((name) => set.has(name)));
    expect([...namesBelow('What is not set')].toSorted()).toEqual(names.filter((name) => !set.has(name)));
  });

  it('names their version, and so does the scope of spans and metrics', () => {
    expect(SOURCE_VERSION).toBe(CONVENTIONS_VERSION);
    expect(page).toContain(`semantic-conventions/blob/v${SOURCE_VERSION}/docs/messaging/`);
    const scopes: unknown[] = [];
    const { meter } = recordedMetrics();
    trace.setGlobalTracerProvider({
      getTracer(...scope) {
        scopes.push(scope);
        return tracer;
      },
    });
    metrics.setGlobalMeterProvider({
      getMeter(...scope) {
        scopes.push(scope);
        return meter;
      },
    });
    try {
      openTelemetry();
    } finally {
      trace.disable();
      metrics.disable();
    }
    const schemaUrl = `https://opentelemetry.io/schemas/${SOURCE_VERSION}`;
    const scope = ['@doorbuster/messaging', undefined, { schemaUrl }];
    expect(scopes).toEqual([scope, scope]);
  });
});
