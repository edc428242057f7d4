/* oxlint-disable no-console -- an example speaks to the person who runs it */
/**
 * A saga without a server: an order is reserved, paid and shipped by three services over the bus; what cannot be shipped is refunded and released. State, outbox and bus are SQLite
 * files. Run it with `node examples/order-saga.ts`.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import {
  ack,
  appendToOutbox,
  createBus,
  createIds,
  createOutboxWriter,
  createRelay,
  createSagaRunner,
  createSqlSagaStore,
  defineChannel,
  defineSaga,
  outboxSchema,
  reactsTo,
  sqliteOutboxSource,
  sqliteSql,
  startsWith,
  stepDone,
  stepFailed,
  stepWaits,
  systemClock,
} from '@doorbuster/messaging';
import { createEmbeddedEngine } from '@doorbuster/messaging/engines/embedded';
import Type from 'typebox';

const Order = Type.Object({ orderId: Type.String(), weight: Type.Number() });
const placed = defineChannel({ name: 'order.placed', version: 1, schema: Order });
const Payment = Type.Object({ orderId: Type.String(), stepId: Type.String() });
const paymentAsked = defineChannel({ name: 'payment.asked', version: 1, schema: Payment });
const paymentTaken = defineChannel({ name: 'payment.taken', version: 1, schema: Payment });
const ended = defineChannel({
  name: 'order.shipped',
  version: 1,
  schema: Type.Object({ orderId: Type.String() }),
});

const folder = mkdtempSync(join(tmpdir(), 'order-saga-'));
const state = new DatabaseSync(join(folder, 'state.db'));
state.exec(outboxSchema);
const write = createOutboxWriter({ clock: systemClock, ids: createIds(systemClock), source: '/shop' });

// The other side of two steps: it knows what it has done by the step id, so a repeated attempt does nothing.
const done = new Set<string>();
const once = (stepId: string, line: string): void => {
  if (done.has(stepId)) return;
  done.add(stepId);
  console.log(line);
};

const orderSaga = defineSaga<{ orderId: string; weight: number }>({
  name: 'order',
  timeoutMs: 60_000,
  startedBy: [startsWith(placed, { key: ({ data }) => data.orderId, data: ({ data }) => data })],
  reactsTo: [reactsTo(paymentTaken, ({ data }) => data.orderId)],
  steps: [
    {
      name: 'reserve',
      run({ key, stepId }) {
        once(stepId, `${key}: reserved`);
        return stepDone();
      },
      compensate: ({ key, stepId }) => once(stepId, `${key}: released`),
    },
    {
      name: 'pay',
      timeoutMs: 10_000,
      // The question leaves through the outbox, with the state that says that it was asked.
      run: ({ key, stepId }) =>
        stepWaits({ messages: [write(paymentAsked, { orderId: key, stepId }, { id: `${stepId}.ask` })] }),
      onMessage: (_context, { type }) => (type === paymentTaken.name ? stepDone() : undefined),
      compensate: ({ key, stepId }) => once(stepId, `${key}: refunded`),
    },
    {
      name: 'ship',
      run({ key, data, stepId }) {
        if (data.weight > 30) return stepFailed('too heavy for the carrier');
        once(stepId, `${key}: shipped`);
        return stepDone(undefined, { messages: [write(ended, { orderId: key })] });
      },
    },
  ],
});

const store = createSqlSagaStore({
  sql: sqliteSql(state),
  appendToOutbox: ({ native }, messages) => appendToOutbox(native, messages),
});
await store.prepare();
const runner = createSagaRunner({ saga: orderSaga, store, sweepMs: 50 });

const bus = createBus({ engine: createEmbeddedEngine({ path: join(folder, 'bus.db') }), source: '/shop' });
bus.declare([placed, paymentAsked, paymentTaken, ended]);
runner.subscribe(bus);
bus.subscribe(paymentAsked, {
  name: 'payments',
  async handler({ data }) {
    once(`${data.stepId}.taken`, `${data.orderId}: paid`);
    await bus.publish(paymentTaken, data, { id: `${data.stepId}.taken` });
    return ack();
  },
});
await bus.start();
const relay = createRelay({ source: sqliteOutboxSource(state), bus, clock: systemClock, sweepMs: 50 });
relay.start();
runner.start();

await bus.publish(placed, { orderId: 'A-1', weight: 2 });
await bus.publish(placed, { orderId: 'B-2', weight: 40 });
for (const orderId of ['A-1', 'B-2']) {
  let status = '';
  while (status !== 'completed' && status !== 'compensated') {
    await new Promise((resolve) => setImmediate(resolve));
    status = (await runner.load(orderId))?.state.status ?? '';
  }
  console.log(`${orderId}: ${status}`);
}
await runner.stop();
await relay.stop();
await bus.stop();
state.close();
rmSync(folder, { recursive: true });
