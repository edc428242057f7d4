/**
 * One message of a key out at a time, for what a consumer reads from its shards: the next of a key goes out when the server has answered that the one before is
 * settled. Pure: knows no server and no time, and hands out nothing itself.
 *
 * What waits here is on hand like the rest: it takes room, and its lease runs. So whoever owns this gives back what would wait too long, and all that
 * waits behind a message that was not simply acknowledged: the server knows then what comes first (lua/shards.ts).
 */
import type { Delivery, DeliveryToken } from '../../engine.ts';

interface Waiting {
  readonly delivery: Delivery;
  /** Monotonic, ms. */
  readonly since: number;
}

/** Of one key. */
interface Queue {
  out: DeliveryToken;
  waiting: Waiting[];
  /** Some that waited behind it here wait on the server now, so what comes next is for the server to say. */
  followed: boolean;
}

/** What leaves, and what of its key stays out; undefined: nothing. */
export interface Behind {
  readonly token: DeliveryToken;
  readonly out: DeliveryToken | undefined;
}

/** Made anew after so many keys: a map that is written to without end keeps the chain of its former tables alive. */
const RENEW_AFTER = 4_096;

export class KeyOrder {
  #queues = new Map<string, Queue>();
  #freed = 0;
  #waiting = 0;

  /** How many wait, of all keys. */
  get waiting(): number {
    return this.#waiting;
  }

  /** True when it may go out now; else it waits. `isOlder`: than all that waits of its key, as what the server had kept is. */
  admit(key: string, delivery: Delivery, now: number, isOlder: boolean): boolean {
    const queue = this.#queues.get(key);
    if (queue === undefined) {
      this.#queues.set(key, { out: delivery.token, waiting: [], followed: false });
      return true;
    }
    const one = { delivery, since: now };
    if (isOlder) queue.waiting.unshift(one);
    else queue.waiting.push(one);
    this.#waiting += 1;
    return false;
  }

  /** Whether the server has to be told of which key it is when it is acknowledged. */
  isFollowed(key: string, token: DeliveryToken): boolean {
    const queue = this.#queues.get(key);
    return queue?.out === token && queue.followed;
  }

  /** The one that is out is acknowledged, and is not followed: the next of its key, which is out from here on. Undefined also for a message that is not out. */
  next(key: string, token: DeliveryToken): Delivery | undefined {
    const queue = this.#queues.get(key);
    if (queue?.out !== token) return undefined;
    const first = queue.waiting.shift();
    if (first === undefined) this.#forget(key);
    else {
      queue.out = first.delivery.token;
      this.#waiting -= 1;
    }
    return first?.delivery;
  }

  /** What waits behind a message leaves; the message is out as before. */
  takeBehind(key: string): readonly Behind[] {
    const queue = this.#queues.get(key);
    if (queue === undefined || queue.waiting.length === 0) return [];
    const behind = queue.waiting.map(({ delivery }) => ({ token: delivery.token, out: queue.out }));
    this.#waiting -= behind.length;
    queue.waiting = [];
    queue.followed = true;
    return behind;
  }

  /** A message is no longer this consumer's, whether it was out or waited: what of its key waits leaves. */
  end(key: string, token: DeliveryToken): readonly Behind[] {
    const queue = this.#queues.get(key);
    if (queue === undefined) return [];
    const behind = this.takeBehind(key);
    if (queue.out !== token) return behind.filter((one) => one.token !== token);
    this.#forget(key);
    return behind.map((one) => ({ token: one.token, out: undefined }));
  }

  /** All that waits leaves. */
  takeAll(): readonly Behind[] {
    if (this.#waiting === 0) return [];
    return [...this.#queues.keys()].flatMap((key) => this.takeBehind(key));
  }

  /** What waits since before that time, with what else waits of its key. */
  takeOlder(than: number): readonly Behind[] {
    if (this.#waiting === 0) return [];
    const keys = [...this.#queues].filter(([, { waiting }]) => waiting.some(({ since }) => since < than));
    return keys.flatMap(([key]) => this.takeBehind(key));
  }

  clear(): void {
    this.#queues = new Map();
    this.#waiting = 0;
  }

  #forget(key: string): void {
    this.#queues.delete(key);
    this.#freed += 1;
    if (this.#freed < RENEW_AFTER) return;
    this.#freed = 0;
    this.#queues = new Map(this.#queues);
  }
}
