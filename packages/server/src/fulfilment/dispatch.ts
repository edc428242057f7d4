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
  /** Ids that may wait; more are turned away, but for the first few of each campaign. */
  readonly capacity: number;
  /** Whether the providers of this campaign have room for one more. */
  readonly mayStart: (campaignId: string) => boolean;
  /** Takes a place for one delivery more, whosever it is; after false `look` is called when there may be places again. Default: always true. */
  readonly take?: () => boolean;
  /** Runs one delivery. Must not throw. */
  readonly run: (campaignId: string, deliveryId: string) => Promise<void>;
  /** Called when what waits has fallen to half of the capacity. */
  readonly onHalfEmpty?: () => void;
}

export interface Dispatch {
  /** Resolves when each of these has run; what is turned away is not waited for. An id that is here already shares its run. */
  add(campaignId: string, deliveryIds: readonly string[]): Promise<void>;
  /** How many ids of this campaign would not be turned away now. */
  room(campaignId: string): number;
  /** Whether it waits or runs here. */
  has(deliveryId: string): boolean;
  /** Room may have come: look again. */
  look(): void;
  /** Forgets what waits and resolves when what runs has ended. */
  drain(): Promise<void>;
  view(): { readonly waiting: number; readonly running: number };
}

/** What one `add` waits for. */
interface Adding {
  left: number;
  readonly finish: () => void;
}

interface Entry {
  readonly deliveryId: string;
  readonly addings: Adding[];
}

/** So many of each campaign may wait even when others have filled the capacity, or a doorbell of a cold one would not be heard. */
const shareOfEach = 64;

export function createDispatch(options: DispatchOptions): Dispatch {
  return new Queues(options);
}

class Queues implements Dispatch {
  readonly #options: DispatchOptions;
  readonly #queues = new Map<string, Entry[]>();
  readonly #known = new Map<string, Entry>();
  readonly #running = new Set<Promise<void>>();
  #waiting = 0;
  #draining = false;

  constructor(options: DispatchOptions) {
    this.#options = options;
  }

  add(campaignId: string, deliveryIds: readonly string[]): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    // One more than there are, so that nothing is over before all are here.
    const adding: Adding = { left: 1, finish: resolve };
    let room = this.room(campaignId);
    for (const deliveryId of deliveryIds) {
      let entry = this.#known.get(deliveryId);
      if (entry === undefined) {
        if (room <= 0) continue;
        room -= 1;
        entry = this.#enqueue(campaignId, deliveryId);
      }
      entry.addings.push(adding);
      adding.left += 1;
    }
    leave(adding);
    this.look();
    return promise;
  }

  room(campaignId: string): number {
    if (this.#draining) return 0;
    const ofIts = shareOfEach - (this.#queues.get(campaignId)?.length ?? 0);
    return Math.max(this.#options.capacity - this.#waiting, ofIts, 0);
  }

  has(deliveryId: string): boolean {
    return this.#known.has(deliveryId);
  }

  #enqueue(campaignId: string, deliveryId: string): Entry {
    const entry = { deliveryId, addings: [] };
    this.#known.set(deliveryId, entry);
    const queue = this.#queues.get(campaignId);
    if (queue) queue.push(entry);
    else this.#queues.set(campaignId, [entry]);
    this.#waiting += 1;
    return entry;
  }

  /** One round: every campaign with room gets one turn, until nobody has room or the places are taken. */
  look(): void {
    const { concurrency, mayStart, take = always } = this.#options;
    for (let started = true; started && this.#running.size < concurrency; ) {
      started = false;
      for (const [campaignId, queue] of Array.from(this.#queues)) {
        if (this.#running.size >= concurrency) break;
        if (!mayStart(campaignId)) continue;
        if (!take()) return;
        this.#start(campaignId, queue.shift()!);
        started = true;
        // Served campaigns go to the back, so that a round cut short by the limit goes on with the next one.
        this.#queues.delete(campaignId);
        if (queue.length > 0) this.#queues.set(campaignId, queue);
      }
    }
  }

  #start(campaignId: string, entry: Entry): void {
    this.#waiting -= 1;
    const run = this.#options.run(campaignId, entry.deliveryId).finally(() => {
      this.#running.delete(run);
      this.#leave(entry);
      this.look();
    });
    this.#running.add(run);
    if (this.#waiting === Math.floor(this.#options.capacity / 2)) this.#options.onHalfEmpty?.();
  }

  #leave(entry: Entry): void {
    this.#known.delete(entry.deliveryId);
    for (const adding of entry.addings) leave(adding);
  }

  async drain(): Promise<void> {
    this.#draining = true;
    for (const queue of this.#queues.values()) for (const entry of queue) this.#leave(entry);
    this.#queues.clear();
    this.#waiting = 0;
    await Promise.all(this.#running);
  }

  view(): { waiting: number; running: number } {
    return { waiting: this.#waiting, running: this.#running.size };
  }
}

const always = (): boolean => true;

function leave(adding: Adding): void {
  adding.left -= 1;
  if (adding.left === 0) adding.finish();
}
