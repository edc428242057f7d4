/* oxlint-disable no-console -- an example speaks to the person who runs it */
/** One order, followed: request, publish, handler, and what the handler publishes. The SDK is the application's; here it writes to memory. */
import { context, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { ack, createBus } from '@doorbuster/messaging';
import { engineFromUrl } from '@doorbuster/messaging/engines/from-url';
import { openTelemetry } from '@doorbuster/messaging/telemetry';
import { mailWanted, orderPlaced } from './channels.ts';
import { inFolder, until } from './stage.ts';

const exporter = new InMemorySpanExporter();
trace.setGlobalTracerProvider(
  new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }),
);
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());

const bus = createBus({
  engine: await engineFromUrl(inFolder('bus.db')),
  source: '/shop',
  telemetry: openTelemetry({ continueTraces: true }),
});
bus.declare([orderPlaced, mailWanted]);
bus.subscribe(orderPlaced, {
  name: 'mailer',
  handler: async ({ data }, { publish }) => {
    await publish(mailWanted, { to: 'ada@example.org', text: `order ${data.orderId}` });
    return ack();
  },
});
bus.subscribe(mailWanted, {
  name: 'postman',
  handler: ({ correlationId, causationId }) => {
    console.log(`conversation ${correlationId}, caused by the order: ${causationId === placedId}`);
    return ack();
  },
});

await bus.start();
let placedId = '';
await trace.getTracer('shop').startActiveSpan('POST /orders', async (span) => {
  const options = { id: 'order-message-1', correlationId: 'visit-7' };
  placedId = options.id;
  await bus.publish(orderPlaced, { orderId: 'A-1', total: 12.5 }, options);
  span.end();
});
const spans = () => exporter.getFinishedSpans();
await until(async () => spans().some(({ name }) => name === 'ack mail.wanted'));
await bus.stop();

const depthOf = (id: string | undefined): number =>
  id === undefined
    ? 0
    : 1 + depthOf(spans().find((one) => one.spanContext().spanId === id)?.parentSpanContext?.spanId);
const tree = spans().map((one) => [depthOf(one.parentSpanContext?.spanId), one.name] as const);
for (const [depth, name] of tree.toSorted(([a, x], [b, y]) => a - b || (x < y ? -1 : 1)))
  console.log(`${'  '.repeat(depth)}${name}`);
