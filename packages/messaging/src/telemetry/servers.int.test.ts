/**
 * One trace through every server: what was published, each attempt at it and how that was settled find each other by what travelled with the message, the copy of a retry
 * included, and spans and metrics name the system and the destination as the conventions have them. What else spans say is in open-telemetry.int.test.ts.
 */
import { SpanKind, trace } from '@opentelemetry/api';
import { afterAll, describe, expect, it } from 'vitest';
import { orderPlaced } from '../../examples/channels.ts';
import { createBus } from '../bus.ts';
import { Collector, eventually } from '../conformance/fixture.ts';
import { engineFromUrl } from '../engine-from-url.ts';
import type { Message } from '../message.ts';
import { ack, retry } from '../outcome.ts';
import { cleanKafka, cleanRabbit, cleanRedis } from '../testing/example-leftovers.ts';
import { idOf, linkedTo, recordedMetrics, useSpans } from './testing/recorded.ts';
import { openTelemetry } from './open-telemetry.ts';

interface Server {
  readonly engine: string;
  readonly variable: string;
  /** Of its addresses, where the server's own is another engine's. */
  readonly scheme?: string;
  /** What the conventions call it. */
  readonly system: string;
  /** What the server calls those that share the subscription `mailer`, where it knows groups of consumers. */
  readonly groupOf?: (prefix: string) => string;
  /** Knows the age of its oldest message. */
  readonly knowsAge: boolean;
  readonly clean: (url: string, prefix: string) => Promise<void>;
}

const redis = { variable: 'REDIS_URL', system: 'redis', knowsAge: true, clean: cleanRedis };
const servers: readonly Server[] = [
  { engine: 'Redis', ...redis, groupOf: () => 'mailer' },
  { engine: 'Redis lists', scheme: 'redis-lists', ...redis },
  { engine: 'Redis Pub/Sub', scheme: 'redis-pubsub', ...redis, knowsAge: false },
  {
    engine: 'RabbitMQ',
    variable: 'RABBITMQ_URL',
    system: 'rabbitmq',
    knowsAge: false,
    clean: cleanRabbit,
  },
  {
    engine: 'Kafka',
    variable: 'KAFKA_URL',
    system: 'kafka',
    groupOf: (prefix) => `${prefix}order.placed-S-mailer`,
    knowsAge: true,
    clean: cleanKafka,
  },
];

const { tracer, spans } = useSpans();

const named = servers.map((server) => [`${server.engine} (needs ${server.variable})`, server] as const);

describe.each(named)('on %s', { timeout: 60_000 }, (_name, server) => {
  const address = process.env[server.variable] ?? '';
  const prefix = `trace${process.pid}${(server.scheme ?? '').replace('redis-', '')}.`;
  afterAll(async () => {
    if (address !== '') await server.clean(address, prefix);
  });

  it.skipIf(address === '')('publish, both attempts and both settlements are one trace', async () => {
    const recorded = recordedMetrics();
    const url = server.scheme === undefined ? address : address.replace(/^[a-z]+(?=:)/, server.scheme);
    const bus = createBus({
      engine: await engineFromUrl(`${url}${url.includes('?') ? '&' : '?'}prefix=${prefix}`),
      source: '/trace',
      telemetry: openTelemetry({ tracer, meter: recorded.meter }),
    });
    bus.declare([orderPlaced]);
    const got = new Collector<Message>();
    const subscription = bus.subscribe(orderPlaced, {
      name: 'mailer',
      handler: (message, { attempt }) => {
        got.add(message);
        return attempt === 1 ? retry({ delayMs: 10, reason: 'the mail server is busy' }) : ack();
      },
    });
    await bus.start();
    await subscription.started;
    const { id } = await tracer.startActiveSpan('POST /orders', async (span) => {
      const confirmation = await bus.publish(orderPlaced, { orderId: 'A-1', total: 1 });
      span.end();
      return confirmation;
    });
    await eventually(
      async () => spans('ack order.placed').length,
      (count) => count === 1,
      'the acknowledgement',
    );
    const metrics = await recorded.take();
    await bus.stop();

    const { hostname, port } = new URL(address);
    const destination = {
      'messaging.system': server.system,
      'server.address': hostname,
      'server.port': Number(port),
      'messaging.destination.name': 'order.placed',
      'messaging.message.id': id,
    };
    const consuming = {
      ...destination,
      'messaging.destination.subscription.name': 'mailer',
      ...(server.groupOf && { 'messaging.consumer.group.name': server.groupOf(prefix) }),
    };
    const [sent] = spans('send order.placed');
    expect(sent).toMatchObject({ kind: SpanKind.PRODUCER, attributes: destination });
    expect(sent?.parentSpanContext?.spanId).toBe(idOf(spans('POST /orders')[0]));
    // What came with the message, over the server and over the copy that a retry makes there.
    const traceparent = `00-${sent?.spanContext().traceId}-${idOf(sent)}-01`;
    expect(got.values.map((message) => message.traceparent)).toEqual([traceparent, traceparent]);
    const attempts = spans('process order.placed');
    expect(attempts).toMatchObject(
      [1, 2].map((attempt) => ({
        kind: SpanKind.CONSUMER,
        attributes: { ...consuming, 'doorbuster.messaging.attempt': attempt },
      })),
    );
    expect(attempts.map(linkedTo)).toEqual([[idOf(sent)], [idOf(sent)]]);
    const settled = ['retry', 'ack'].map((outcome) => spans(`${outcome} order.placed`));
    expect(settled).toMatchObject([[{ attributes: consuming }], [{ attributes: consuming }]]);
    expect(settled.map(([span]) => span?.parentSpanContext?.spanId)).toEqual(attempts.map(idOf));
    expect(trace.getActiveSpan()).toBeUndefined();

    const points = (name: string): readonly { readonly attributes: object; readonly value: unknown }[] =>
      metrics
        .filter(({ descriptor }) => descriptor.name === name)
        .flatMap(
          ({ dataPoints }): readonly { readonly attributes: object; readonly value: unknown }[] => dataPoints,
        );
    const { 'messaging.message.id': _id, ...place } = consuming;
    expect(points('messaging.client.consumed.messages')).toMatchObject([{ attributes: place, value: 2 }]);
    expect(points('doorbuster.messaging.retries')).toMatchObject([{ attributes: place, value: 1 }]);
    expect(points('doorbuster.messaging.subscription.in_flight')).toMatchObject([{ attributes: place }]);
    // 0 of an age that nobody knows would keep an alert quiet.
    expect(points('doorbuster.messaging.subscription.oldest_age')).toMatchObject(
      server.knowsAge ? [{ attributes: place }] : [],
    );
  });
});
