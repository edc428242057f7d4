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
  readonly place: string;
  /** Monotonic, ms. */
  readonly since: number;
}

/** Of one key. */
interface Queue {
  /** Undefined: what waited is on its way back, and what comes until the server has it goes after it. */
  out: DeliveryToken | undefined;
  waiting: Waiting[];
  /** Some that waited behind it here wait on the server now, so what comes next is for the server to say. */
  followed: boolean;
}

/** What leaves, and what of its key stays out; undefined: nothing. */
export interface Behind {
  readonly key: string;
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

  /** True when it may go out now; else it waits, in the order of the log. `name`: what the server calls the hand-out. */
  admit(key: string, delivery: Delivery, now: number, name: string): boolean {
    const queue = this.#queues.get(key);
    if (queue === undefined) {
      this.#queues.set(key, { out: delivery.token, waiting: [], followed: false });
      return true;
    }
    const one = { delivery, place: placeOf(name), since: now };
    const before = queue.waiting.findLastIndex(({ place }) => place <= one.place);
    queue.waiting.splice(before + 1, 0, one);
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
    const behind = queue.waiting.map(({ delivery }) => ({ key, token: delivery.token, out: queue.out }));
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
    if (behind.length === 0) this.#forget(key);
    else queue.out = undefined;
    return behind.map((one) => ({ ...one, out: undefined }));
  }

  /** The server has what was given back of these keys: they are free, but for what came meanwhile, which goes the same way. */
  returned(keys: ReadonlySet<string>): readonly Behind[] {
    return [...keys].flatMap((key) => this.#returned(key));
  }

  /** The same of all keys: the server has given back itself what it had not heard of. */
  allReturned(): readonly Behind[] {
    return [...this.#queues.keys()].flatMap((key) => this.#returned(key));
  }

  #returned(key: string): readonly Behind[] {
    const queue = this.#queues.get(key);
    if (queue === undefined || queue.out !== undefined) return [];
    const behind = this.takeBehind(key);
    if (behind.length === 0) this.#forget(key);
    return behind;
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

/** Where a message lies in its log, as a text that sorts: an entry read from a shard is `<shard>:<id>`, a token of a script has the entry's padded id behind its second sign. */
function placeOf(name: string): string {
  const bar = name.indexOf('|');
  const id = bar < 0 ? name.slice(name.indexOf(':') + 1) : (name.slice(bar + 2).split('|', 1)[0] ?? '');
  const [ms = '', number = ''] = id.split('-');
  // Behind the point comes the level, and behind that what makes a correction another message than its original.
  const [sequence = '', rest = ''] = number.split('.');
  return `${ms.padStart(16, '0')}-${sequence.padStart(12, '0')}${rest.slice(rest.indexOf('+') + 1 || rest.length)}`;
}
