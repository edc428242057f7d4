/**
 * Order per key with node-redis by hand: a key's hash names one of eight streams, XADD for each message, and one process that owns all of them reads them with one
 * XREADGROUP, because eight connections would cost it more, and sends one XACK for each stream together with the next read. The prefetch is shared out. Who owns a
 * stream is written down nowhere: a second process of the same group would break the order.
 */
import { createClient } from 'redis';
import {
  type Contender,
  fillBy,
  keyOf,
  numberIn,
  type OpenContender,
  shardOf,
  shards,
  structuredEvent,
  subscriptionName,
} from '../contender.ts';

type Entries = readonly (readonly [string, readonly (readonly [string, readonly string[]])[]])[] | null;

const blockMs = '1000';

export const openRedisKeyed: OpenContender = async ({ url, prefix, prefetch }) => {
  const streams = Array.from({ length: shards }, (_, index) => `${prefix}:orders:${index}`);
  const client = createClient({ url, RESP: 2 });
  const reader = createClient({ url, RESP: 2 });
  for (const one of [client, reader]) {
    // A lost connection is a fault of the run: each command that was hit rejects and ends the process.
    one.on('error', () => {});
    await one.connect();
  }
  for (const stream of streams)
    await client.sendCommand(['XGROUP', 'CREATE', stream, subscriptionName, '0', 'MKSTREAM']);
  function publish(n: number): Promise<unknown> {
    const key = keyOf(n);
    const stream = streams[shardOf(key)] as string;
    return client.sendCommand(['XADD', stream, '*', 'event', structuredEvent(n, key), 'key', key]);
  }
  const count = String(prefetch / shards);
  const asked = ['GROUP', subscriptionName, 'one', 'COUNT', count, 'BLOCK', blockMs, 'STREAMS', ...streams];
  const read = (): Promise<Entries> =>
    reader.sendCommand(['XREADGROUP', ...asked, ...streams.map(() => '>')]);
  let closing = false;
  let reading: Promise<void> = Promise.resolve();
  async function readAll(handled: (n: number) => void): Promise<void> {
    let next = read();
    while (!closing) {
      const acked: Promise<unknown>[] = [];
      for (const [stream, entries] of (await next) ?? []) {
        for (const [, fields] of entries) handled(numberIn(fields[1] as string));
        const ids = entries.map(([id]) => id);
        acked.push(reader.sendCommand(['XACK', stream, subscriptionName, ...ids]));
      }
      next = read();
      await Promise.all(acked);
    }
    await next;
  }
  const contender: Contender = {
    publish: async (n) => void (await publish(n)),
    fill: (total) => fillBy(publish, total),
    async consume(handled) {
      reading = readAll(handled);
    },
    async close() {
      closing = true;
      await reading;
      await client.sendCommand(['UNLINK', ...streams]);
      reader.destroy();
      client.destroy();
    },
  };
  return contender;
};
