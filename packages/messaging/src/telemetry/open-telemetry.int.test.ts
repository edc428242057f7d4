/** Spans and metrics of the real SDK, on the in-process engine: what a trace of this toolkit looks like, hop by hop. */
import { DatabaseSync } from 'node:sqlite';
import { SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { type Bus, type BusOptions, createBus } from '../bus.ts';
import { defineChannel } from '../channel.ts';
import { Collector, eventually } from '../conformance/fixture.ts';
import { createInProcessEngine } from '../engines/embedded/engine.ts';
import type { Message } from '../message.ts';
import { ack, deadLetter, type Outcome, reply, retry } from '../outcome.ts';
import { idOf, linkedTo, recordedMetrics, useSpans } from './testing/recorded.ts';
import { openTelemetry, type OpenTelemetryOptions } from './open-telemetry.ts';

const schema = Type.Object({ n: Type.Integer() });
const placed = defineChannel({ name: 'order.placed', version: 1, schema, reply: schema });
const wanted = defineChannel({ name: 'mail.wanted', version: 1, schema });

const { tracer, all, spans, spansOnceThere } = useSpans();

const keeping =
  (collector: Collector<Message>) =>
  (message: Message): Outcome => {
    collector.add(message);
    return ack();
  };

function busWith(options: OpenTelemetryOptions, more: Partial<BusOptions> = {}): Bus {
  const bus = createBus({
    engine: createInProcessEngine(new DatabaseSync(':memory:')),
    source: '/t',
    telemetry: openTelemetry({ tracer, ...options }),
    ...more,
  });
  bus.declare([placed, wanted]);
  return bus;
}

describe('spans', () => {
  it('lead from the caller over publish and handler to what the handler publishes, by links and by hops', async () => {
    const bus = busWith({});
    const mails = new Collector<Message>();
    const active: (string | undefined)[] = [];
    bus.subscribe(placed, {
      name: 'mailer',
      handler: async ({ data }, { publish }) => {
        active.push(trace.getActiveSpan()?.spanContext().spanId);
        await publish(wanted, { n: data.n + 1 });
        return ack();
      },
    });
    bus.subscribe(wanted, {
      name: 'postman',
      handler: (message) => {
        mails.add(message);
        return ack();
      },
    });
    await bus.start();
    const { id } = await tracer.startActiveSpan('POST /orders', async (span) => {
      const confirmation = await bus.publish(placed, { n: 1 }, { correlationId: 'talk-1' });
      span.end();
      return confirmation;
    });
    await mails.waitFor(1);
    await bus.stop();

    const [root] = spans('POST /orders');
    const [sent] = spans('send order.placed');
    const [processed] = spans('process order.placed');
    const [sentMail] = spans('send mail.wanted');
    const [processedMail] = spans('process mail.wanted');
    const [acked] = spans('ack order.placed');
    expect(sent?.parentSpanContext?.spanId).toBe(idOf(root));
    expect(sent?.kind).toBe(SpanKind.PRODUCER);
    expect(sent?.attributes).toMatchObject({
      'messaging.system': 'doorbuster',
      'messaging.operation.name': 'send',
      'messaging.operation.type': 'send',
      'messaging.destination.name': 'order.placed',
      'messaging.message.id': id,
      'messaging.message.conversation_id': 'talk-1',
    });
    expect(sent?.attributes).not.toHaveProperty('messaging.batch.message_count');
    expect(processed?.kind).toBe(SpanKind.CONSUMER);
    expect(processed?.parentSpanContext).toBeUndefined();
    expect(linkedTo(processed)).toEqual([idOf(sent)]);
    expect(processed?.attributes).toMatchObject({
      'messaging.operation.type': 'process',
      'messaging.destination.subscription.name': 'mailer',
      'messaging.message.id': id,
      'doorbuster.messaging.attempt': 1,
    });
    expect(active).toEqual([idOf(processed)]);
    expect(sentMail?.parentSpanContext?.spanId).toBe(idOf(processed));
    expect(linkedTo(processedMail)).toEqual([idOf(sentMail)]);
    expect(acked).toMatchObject({ kind: SpanKind.CLIENT });
    expect(acked?.parentSpanContext?.spanId).toBe(idOf(processed));
    expect(mails.values[0]).toMatchObject({ correlationId: 'talk-1', causationId: id });
    expect(mails.values[0]?.traceparent).toBe(
      `00-${sentMail?.spanContext().traceId}-${sentMail?.spanContext().spanId}-01`,
    );
  });

  it('make a batch one span with a link per message, on both sides', async () => {
    const bus = busWith({ createSpans: true });
    await bus.start();
    await bus.publishBatch(placed, [{ data: { n: 1 } }, { data: { n: 2 } }]);
    const done = new Collector<number>();
    bus.subscribe(placed, {
      name: 'batch',
      batch: { max: 10 },
      handler: (messages) => {
        for (const { data } of messages) done.add(data.n);
        return messages.map(() => ack());
      },
    });
    await done.waitFor(2);
    await bus.stop();
    const created = spans('create order.placed');
    const [sent] = spans('send order.placed');
    const [processed] = spans('process order.placed');
    expect(created.map(({ kind }) => kind)).toEqual([SpanKind.PRODUCER, SpanKind.PRODUCER]);
    expect(sent?.kind).toBe(SpanKind.CLIENT);
    expect(linkedTo(sent)).toEqual(created.map(idOf));
    expect(sent?.attributes['messaging.batch.message_count']).toBe(2);
    expect(linkedTo(processed)).toEqual(created.map(idOf));
    expect(processed?.links.map((link) => link.attributes?.['messaging.message.id'])).toEqual(
      created.map((span) => span.attributes['messaging.message.id']),
    );
    expect(processed?.attributes['messaging.batch.message_count']).toBe(2);
    expect(spans('ack order.placed').flatMap(linkedTo)).toEqual(created.map(idOf));
  });

  it('leave a context that came with the message as it is, and link to it', async () => {
    const bus = busWith({});
    await bus.start();
    const given = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const got = new Collector<Message>();
    bus.subscribe(placed, { name: 'one', handler: keeping(got) });
    await bus.publish(placed, { n: 1 }, { traceparent: given });
    await got.waitFor(1);
    await bus.stop();
    expect(got.values[0]?.traceparent).toBe(given);
    expect(linkedTo(spans('send order.placed')[0])).toEqual(['b7ad6b7169203331']);
    expect(spans('send order.placed')[0]?.kind).toBe(SpanKind.CLIENT);
  });

  it('may go on with the trace of the publisher', async () => {
    const bus = busWith({ continueTraces: true });
    bus.subscribe(placed, { name: 'one', handler: () => ack() });
    await bus.start();
    await bus.publish(placed, { n: 1 });
    const [processed] = await spansOnceThere('process order.placed');
    await bus.stop();
    const [sent] = spans('send order.placed');
    expect(processed?.parentSpanContext?.spanId).toBe(idOf(sent));
    expect(linkedTo(processed)).toEqual([idOf(sent)]);
  });

  it('say why a handler failed, and which outcome it gave', async () => {
    const bus = busWith({});
    const outcomes = [
      (): never => {
        throw new RangeError('too far');
      },
      () => retry({ reason: 'later' }),
      () => deadLetter('never'),
    ];
    bus.subscribe(placed, {
      name: 'one',
      retries: { immediate: 3 },
      handler: (_message, { attempt }) => (outcomes[attempt - 1] as () => ReturnType<typeof ack>)(),
    });
    await bus.start();
    await bus.publish(placed, { n: 1 });
    const processed = await spansOnceThere('process order.placed', 3);
    await spansOnceThere('dead_letter order.placed');
    await bus.stop();
    expect(processed.map((span) => span.attributes['error.type'])).toEqual([
      'RangeError',
      'retry',
      'dead_letter',
    ]);
    expect(processed.every((span) => span.status.code === SpanStatusCode.ERROR)).toBe(true);
    expect(processed[0]?.events[0]?.attributes?.['exception.message']).toBe('too far');
    expect(processed.map((span) => span.attributes['doorbuster.messaging.attempt'])).toEqual([1, 2, 3]);
  });

  it('cover request and reply without a name per asker', async () => {
    const bus = busWith({});
    bus.subscribe(placed, { name: 'answers', handler: ({ data }) => reply({ n: data.n * 2 }) });
    await bus.start();
    await expect(bus.request(placed, { n: 4 }, { timeoutMs: 10_000 })).resolves.toEqual({ n: 8 });
    await bus.stop();
    expect(spans('send replies.{id}')[0]?.attributes).toMatchObject({
      'messaging.destination.template': 'replies.{id}',
      'messaging.destination.temporary': true,
    });
  });

  it('name the failure of a publish', async () => {
    const bus = busWith({});
    await bus.start();
    const tooLarge = bus.publish(placed, { n: 1 }, { headers: { big: 'x'.repeat(2 ** 20) } });
    await expect(tooLarge).rejects.toMatchObject({ code: 'DB_MSG_MESSAGE_TOO_LARGE' });
    await bus.stop();
    expect(spans('send order.placed')[0]?.attributes['error.type']).toBe('DB_MSG_MESSAGE_TOO_LARGE');
  });
});

it('metrics have the names, units and attributes of the conventions, and the backlog beside them', async () => {
  const recorded = recordedMetrics();
  const bus = busWith({ meter: recorded.meter });
  const handled = new Collector<number>();
  bus.subscribe(placed, {
    name: 'one',
    retries: { immediate: 1, delayed: [] },
    handler: ({ data }, { attempt }) => {
      handled.add(attempt);
      return data.n === 0 ? retry({ reason: 'no' }) : ack();
    },
  });
  bus.subscribe(wanted, { name: 'idle', handler: () => new Promise<never>(() => {}) });
  await bus.start();
  await bus.publishBatch(placed, [{ data: { n: 0 } }, { data: { n: 1 } }]);
  await bus.publishBatch(wanted, [{ data: { n: 1 } }, { data: { n: 2 } }, { data: { n: 3 } }]);
  await handled.waitFor(3);
  await eventually(
    () => bus.deadLetters.list(),
    (letters) => letters.length === 1,
    'the dead letter',
  );
  const metrics = await recorded.take();
  const found = new Map(metrics.map((metric) => [metric.descriptor.name, metric]));
  await bus.stop({ drainMs: 0 });
  await recorded.end();
  const readingOf = (name: string, attributes: Record<string, unknown>): unknown =>
    found
      .get(name)
      ?.dataPoints.find((point) =>
        Object.entries(attributes).every(([key, value]) => point.attributes[key] === value),
      )?.value;
  const here = { 'messaging.destination.name': 'order.placed' };
  expect(readingOf('messaging.client.sent.messages', here)).toBe(2);
  expect(readingOf('messaging.client.consumed.messages', here)).toBe(3);
  expect(readingOf('messaging.process.duration', { ...here, 'error.type': 'retry' })).toMatchObject({
    count: 2,
  });
  expect(
    readingOf('messaging.client.operation.duration', { ...here, 'messaging.operation.name': 'send' }),
  ).toMatchObject({ count: 1 });
  expect(readingOf('doorbuster.messaging.retries', { ...here, 'error.type': 'retry' })).toBe(1);
  expect(readingOf('doorbuster.messaging.dead_letters', here)).toBe(1);
  expect(readingOf('doorbuster.messaging.subscription.parked', here)).toBe(1);
  const backlog = { 'messaging.destination.subscription.name': 'idle' };
  expect(readingOf('doorbuster.messaging.subscription.in_flight', backlog)).toBe(2);
  expect(readingOf('doorbuster.messaging.subscription.ready', backlog)).toBe(1);
  expect(found.get('messaging.process.duration')?.descriptor.unit).toBe('s');
});

it('control: without telemetry there is no span, and only what `context.publish` sends knows its cause', async () => {
  const bus = createBus({ engine: createInProcessEngine(new DatabaseSync(':memory:')), source: '/t' });
  bus.declare([placed, wanted]);
  const mails = new Collector<Message>();
  bus.subscribe(placed, {
    name: 'mailer',
    handler: async ({ data }, context) => {
      await context.publish(wanted, data);
      await bus.publish(wanted, data);
      await context.publish(wanted, data, { correlationId: 'mine' });
      return ack();
    },
  });
  bus.subscribe(wanted, { name: 'postman', handler: keeping(mails) });
  await bus.start();
  const { id } = await bus.publish(placed, { n: 1 });
  await mails.waitFor(3);
  await bus.stop();
  expect(all()).toEqual([]);
  expect(mails.values.map(({ correlationId, causationId }) => [correlationId, causationId])).toEqual([
    [id, id],
    [undefined, undefined],
    ['mine', id],
  ]);
});
