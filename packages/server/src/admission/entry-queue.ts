/** The queue of entries on the bus: the channel `entry.submitted` with one durable subscription, `admission`. */
import type { Bus } from '@doorbuster/messaging';
import { entrySubmitted } from '../messages.ts';
import type { EntryQueue } from './queued.ts';

const subscription = 'admission';
const largestBatch = 512;

/** `bus` runs and has `entrySubmitted` declared. One handler at a time, so that entries are decided in the order of the queue. */
export function createEntryQueue(bus: Bus): EntryQueue {
  return {
    async publish(data) {
      await bus.publish(entrySubmitted, data);
    },
    async backlog() {
      const { channels } = await bus.view();
      const channel = channels.find(({ name }) => name === entrySubmitted.name);
      const view = channel?.subscriptions.find(({ name }) => name === subscription);
      return view ? view.ready + view.delayed + view.waitingForKey + view.inFlight : 0;
    },
    async consume(handle) {
      const running = bus.subscribe(entrySubmitted, {
        name: subscription,
        concurrency: 1,
        batch: { max: largestBatch },
        // The handler waits in place while the ledger is out of reach; only its own bugs end here.
        // A kill takes a batch with it that had no part in it, and an acknowledged entry must outlive any number of kills.
        retries: { immediate: 3, delayed: [1_000, 10_000, 60_000], abandoned: 1_000_000 },
        handler: (messages) => handle(messages),
      });
      await running.started;
    },
  };
}
