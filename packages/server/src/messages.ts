/** The messages of the server on the bus: ids only, no phone number, no voucher code. One channel a type. */
import { defineChannel } from '@doorbuster/messaging';
import Type from 'typebox';

/** A unit was granted: fulfilment should look at this delivery. A doorbell: the sweep of due deliveries finds it anyway. */
export const deliveryRequested = defineChannel<{ campaignId: string; deliveryId: string }>({
  name: 'delivery.requested',
  version: 1,
  schema: Type.Object(
    { campaignId: Type.String({ maxLength: 64 }), deliveryId: Type.String({ maxLength: 128 }) },
    { additionalProperties: false },
  ),
});

/** Queued intake: an entry on its way to the authority. Sealed because it carries the member's answers. */
export const entrySubmitted = defineChannel<{ campaignId: string; sealed: string }>({
  name: 'entry.submitted',
  version: 1,
  schema: Type.Object(
    { campaignId: Type.String({ maxLength: 64 }), sealed: Type.String({ maxLength: 65_536 }) },
    { additionalProperties: false },
  ),
});
