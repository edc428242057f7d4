/**
 * Which delivery runs next in this process: a queue per campaign, served in turn, so that one hot campaign does not starve the others.
 *
 * A campaign gets a turn only while its providers have room (`mayStart`): what waits for a slow provider waits here, unclaimed, and holds
 * neither a lease nor one of the places that other providers' deliveries need. Ids only, bounded, nothing durable: what is turned away or
 * lost here is still due in the ledger, and the sweep finds it.
 */

export interface DispatchOptions {
  /** Deliveries that run at the same time. */
  readonly concurrency: number;
  /** Ids that may wait; more are turned away. */
  readonly capacity: number;
  /** Whether the providers of this campaign have room for one more. */
  readonly mayStart: (campaignId: string) => boolean;
  /** Runs one delivery. Must not throw. */
  readonly run: (campaignId: string, deliveryId: string) => Promise<void>;
}

export interface Dispatch {
  /** Resolves when the delivery has run; at once when it was turned away. An id that is here already shares its run. */
  add(campaignId: string, deliveryId: string): Promise<void>;
  /** Whether it waits or runs here. */
  has(deliveryId: string): boolean;
  /** Room may have come: look again. */
  look(): void;
  /** Forgets what waits and resolves when what runs has ended. */
  drain(): Promise<void>;
  view(): { readonly waiting: number; readonly running: number };
}

interface Waiting {
  readonly deliveryId: string;
  readonly finish: () => void;
}

export function createDispatch(options: DispatchOptions): Dispatch {
  const queues = new Map<string, Waiting[]>();
  const known = new Map<string, Promise<void>>();
  const running = new Set<Promise<void>>();
  let waiting = 0;
  let draining = false;

  const start = (campaignId: string, next: Waiting): void => {
    waiting -= 1;
    const run = options.run(campaignId, next.deliveryId).finally(() => {
      known.delete(next.deliveryId);
      running.delete(run);
      next.finish();
      look();
    });
    running.add(run);
  };

  /** One round: every campaign with room gets one turn, until nobody has room or the places are taken. */
  const look = (): void => {
    for (let started = true; started && running.size < options.concurrency; ) {
      started = false;
      for (const [campaignId, queue] of Array.from(queues)) {
        if (running.size >= options.concurrency) break;
        if (!options.mayStart(campaignId)) continue;
        const next = queue.shift();
        if (next) start(campaignId, next);
        started = true;
        // Served campaigns go to the back, so that a round cut short by the limit goes on with the next one.
        queues.delete(campaignId);
        if (queue.length > 0) queues.set(campaignId, queue);
      }
    }
  };

  return {
    add(campaignId, deliveryId) {
      const already = known.get(deliveryId);
      if (already) return already;
      if (draining || waiting >= options.capacity) return Promise.resolve();
      const { promise, resolve } = Promise.withResolvers<void>();
      known.set(deliveryId, promise);
      const queue = queues.get(campaignId);
      const entry = { deliveryId, finish: resolve };
      if (queue) queue.push(entry);
      else queues.set(campaignId, [entry]);
      waiting += 1;
      look();
      return promise;
    },
    has: (deliveryId) => known.has(deliveryId),
    look,
    async drain() {
      draining = true;
      for (const queue of queues.values()) {
        for (const entry of queue) {
          known.delete(entry.deliveryId);
          entry.finish();
        }
      }
      queues.clear();
      waiting = 0;
      await Promise.all(running);
    },
    view: () => ({ waiting, running: running.size }),
  };
}
