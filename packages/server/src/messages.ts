/** The messages of the server on the bus: ids and numbers only, no phone number, no voucher code. One channel a type. */
import { defineChannel } from '@doorbuster/messaging';
import Type from 'typebox';
import { deliveryIdOf } from './delivery-id.ts';

/** Deliveries of one message at most: one message is one turn of the consumer. */
const deliveriesAMessage = 512;

/** `count` deliveries from this one on: seq and unit both rise by one. Where everybody wins, a whole batch is one run. */
export type DeliveryRun = readonly [seq: number, unit: number, count: number];

/** Deliveries of one campaign that one transaction made due. */
export interface DeliveryRequested {
  readonly campaignId: string;
  readonly runs: readonly DeliveryRun[];
}

/** Typebox writes tuples as an older draft of JSON Schema did. */
const run = Type.Unsafe<DeliveryRun>({
  type: 'array',
  prefixItems: [
    { type: 'integer', minimum: 1 },
    { type: 'integer', minimum: 1 },
    { type: 'integer', minimum: 1, maximum: deliveriesAMessage },
  ],
  minItems: 3,
  maxItems: 3,
});

/** Fulfilment should look at these deliveries. A doorbell: the sweep of due deliveries finds them anyway. */
export const deliveryRequested = defineChannel<DeliveryRequested>({
  name: 'delivery.requested',
  version: 2,
  schema: Type.Object(
    {
      campaignId: Type.String({ maxLength: 64 }),
      runs: Type.Array(run, { minItems: 1, maxItems: deliveriesAMessage }),
    },
    { additionalProperties: false },
  ),
});

/** The messages for these deliveries, in their order within a campaign: one a campaign, more when it has more than fit. */
export function doorbellsFor(
  deliveries: Iterable<{ readonly campaignId: string; readonly seq: number; readonly unit: number }>,
): readonly DeliveryRequested[] {
  const done: DeliveryRequested[] = [];
  const open = new Map<string, { runs: [number, number, number][]; size: number }>();
  for (const { campaignId, seq, unit } of deliveries) {
    let message = open.get(campaignId);
    if (message === undefined || message.size === deliveriesAMessage) {
      message = { runs: [], size: 0 };
      open.set(campaignId, message);
      done.push({ campaignId, runs: message.runs });
    }
    message.size++;
    const last = message.runs.at(-1);
    if (last !== undefined && seq === last[0] + last[2] && unit === last[1] + last[2]) last[2]++;
    else message.runs.push([seq, unit, 1]);
  }
  return done;
}

export function deliveriesOf({ campaignId, runs }: DeliveryRequested): readonly string[] {
  const ids: string[] = [];
  for (const [seq, unit, count] of runs)
    for (let i = 0; i < count; i++) ids.push(deliveryIdOf(campaignId, seq + i, unit + i));
  return ids;
}

/** Queued intake: an entry on its way to the authority. Sealed because it carries the member's answers. */
export const entrySubmitted = defineChannel<{ campaignId: string; sealed: string }>({
  name: 'entry.submitted',
  version: 1,
  schema: Type.Object(
    { campaignId: Type.String({ maxLength: 64 }), sealed: Type.String({ maxLength: 65_536 }) },
    { additionalProperties: false },
  ),
});
