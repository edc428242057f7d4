/**
 * One way to publish and to consume, opened in a process of its own: the toolkit on an engine, the bare client of a server, or another job queue. All
 * carry the same CloudEvent with the same 200 bytes of data. What a way costs is measured in `side.ts`; nothing here looks at a clock.
 */
import { randomUUID } from 'node:crypto';

export interface Contender {
  /** Resolves when the message is stored as durably as this way stores it. */
  publish(n: number): Promise<void>;
  /** Stores messages 0 to `count - 1`, as fast as it can: what `consume` then finds. Not measured. */
  fill(count: number): Promise<void>;
  /** From now on calls `handled` with the number of each message, and acknowledges it when that returns. */
  consume(handled: (n: number) => void): Promise<void>;
  /** Leaves. What the toolkit made on a server is removed by the bench, everything else here. */
  close(): Promise<void>;
}

export interface ContenderSetting {
  /** The server's; empty where there is none. */
  readonly url: string;
  /** In front of every name it makes on a server that others use too. */
  readonly prefix: string;
  /** Its own folder, empty at first. */
  readonly folder: string;
  /** Messages handled at the same time. */
  readonly concurrency: number;
  /** Messages handed out and not acknowledged, and messages per read where a client reads in batches. */
  readonly prefetch: number;
  /** Each message has a key, and those of one key are handled in the order of publishing. */
  readonly keyed: boolean;
}

export type OpenContender = (setting: ContenderSetting) => Promise<Contender>;

export interface OrderPlaced {
  readonly n: number;
  readonly orderId: string;
  readonly customer: string;
  readonly lines: { readonly sku: string; readonly quantity: number; readonly price: number }[];
  readonly note: string;
}

/** Some 200 bytes as JSON. */
export const orderOf = (n: number): OrderPlaced => ({
  n,
  orderId: `order-${String(n).padStart(9, '0')}`,
  customer: 'customer-4711',
  lines: [
    { sku: 'poster-a2', quantity: 1, price: 12.5 },
    { sku: 'sticker-set', quantity: 3, price: 4.2 },
  ],
  note: 'leave it with the neighbour on the left',
});

export const channelName = 'bench.order-placed';
export const subscriptionName = 'fulfilment';
const source = '/bench';

export const keys = 1_000;

/**
 * The number of the key of a message: below `keys`, spread as by chance and the same in each run, so that messages of one key also follow each other closely. Taken in
 * turn, no two of a key would ever be near each other, and keeping their order would cost nothing.
 */
export function keyNumberOf(n: number): number {
  let mixed = Math.imul(n ^ (n >>> 16), 0x45d9f3b);
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x45d9f3b);
  return ((mixed ^ (mixed >>> 16)) >>> 0) % keys;
}

export const keyOf = (n: number): string => `customer-${keyNumberOf(n)}`;

/** Parts of a queue, a topic or a stream that a team would make by hand; the RabbitMQ engine has as many by default. */
export const shards = 8;

/** FNV-1a: what somebody writes who shares keys out by hand. */
export function shardOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < key.length; at += 1) hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193);
  return (hash >>> 0) % shards;
}

/** The attributes that the toolkit gives a message, made as a program would that has no toolkit. */
export function attributesOf(key?: string): Readonly<Record<string, string>> {
  const attributes = {
    specversion: '1.0',
    id: randomUUID(),
    type: channelName,
    source,
    time: new Date().toISOString(),
    dataschema: `urn:channel:${channelName}:v1`,
  };
  return key === undefined ? attributes : { ...attributes, partitionkey: key };
}

/** The whole event as one JSON text, as it goes into Redis, SQLite and the job queues. */
export const structuredEvent = (n: number, key?: string): string =>
  JSON.stringify({ ...attributesOf(key), datacontenttype: 'application/json', data: orderOf(n) });

export const numberIn = (event: string): number =>
  (JSON.parse(event) as { readonly data: OrderPlaced }).data.n;

/** Publishes `count` messages, `together` at a time. */
export async function fillBy(
  publish: (n: number) => Promise<unknown>,
  count: number,
  together = 500,
): Promise<void> {
  for (let from = 0; from < count; from += together) {
    const numbers = Array.from({ length: Math.min(together, count - from) }, (_, index) => from + index);
    await Promise.all(numbers.map(publish));
  }
}

/** Gathers what is published in one turn and stores it with one call: for clients that store many at once but do not gather by themselves. */
export function gathered(
  store: (numbers: readonly number[]) => Promise<unknown>,
): (n: number) => Promise<void> {
  let waiting: {
    readonly n: number;
    readonly resolve: () => void;
    readonly reject: (error: Error) => void;
  }[] = [];
  function send(): void {
    const group = waiting;
    waiting = [];
    store(group.map(({ n }) => n)).then(
      () => group.forEach(({ resolve }) => resolve()),
      (error: Error) => group.forEach(({ reject }) => reject(error)),
    );
  }
  return (n) =>
    new Promise((resolve, reject) => {
      if (waiting.length === 0) queueMicrotask(send);
      waiting.push({ n, resolve, reject });
    });
}

/** The numbers from `from` on, at most `most` and below `count`. */
export const slice = (from: number, count: number, most: number): readonly number[] =>
  Array.from({ length: Math.min(most, count - from) }, (_, index) => from + index);
