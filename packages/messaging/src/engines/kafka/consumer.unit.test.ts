import { expect, it } from 'vitest';
import { createManualClock } from '../../conformance/manual-clock.ts';
import type { Delivery } from '../../engine.ts';
import { KafkaConsumer } from './consumer.ts';
import { looseRecord, type RecordLike } from './log-record.ts';
import type { Entry } from './partition.ts';
import { encodeMessage, Received } from './wire.ts';

const sent = {
  id: 'm1',
  type: 'orders',
  version: 1,
  source: '/shop',
  time: '2026-01-01T00:00:00.000Z',
  data: { n: 1 },
  headers: {},
};

/** Counts how often the value of a record is read as a text, which is what costs most of a delivery. */
function counted(value: Buffer): { readonly record: RecordLike; readonly reads: () => number } {
  const { headers } = encodeMessage(sent);
  const bytes = headers.map(([name, text]) => [Buffer.from(name), text] as const);
  const loose = looseRecord({ key: null, value, headers: bytes });
  let reads = 0;
  const record = Object.assign(Object.create(loose) as RecordLike, {
    valueText() {
      reads += 1;
      return loose.valueText();
    },
  });
  return { record, reads: () => reads };
}

it.each([
  ['a message', '{"n":1}', { data: { n: 1 } }, undefined],
  ['what is none', '{"n":', undefined, expect.stringContaining('not JSON') as string],
])('a delivery decodes its record once: %s', (_, value, message, malformed) => {
  const { record, reads } = counted(Buffer.from(value));
  const entry = {
    received: new Received(record, { channel: 'orders', text: 'orders/0/7' }),
    source: { ledger: { countOf: () => 0 } },
    offset: 7,
    abandonedBefore: 0,
  } as unknown as Entry;
  const deliveries: Delivery[] = [];
  const nothing = (): void => {};
  const consumer = new KafkaConsumer(
    {
      clock: createManualClock(),
      spec: { channel: 'orders', subscription: 'one', prefetch: 1, leaseMs: 1_000 },
      nextToken: () => 1 as never,
      settle: async () => {},
      onLeaseEnd: nothing,
      onCapacity: nothing,
      onClose: async () => {},
    },
    (all) => deliveries.push(...all),
  );
  consumer.deliver([entry]);
  expect(deliveries).toMatchObject([{ ...(message && { message }), ...(malformed && { malformed }) }]);
  expect(reads()).toBe(1);
});
