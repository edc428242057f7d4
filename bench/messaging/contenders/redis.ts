/**
 * node-redis by hand: XADD for each message (the client sends what was asked in one turn together), XREADGROUP with COUNT of the same prefetch, one XACK for each
 * batch, sent together with the next read. Acknowledged entries stay in the stream, as they do until somebody trims it.
 */
import { createClient } from 'redis';
import {
  type Contender,
  fillBy,
  numberIn,
  type OpenContender,
  structuredEvent,
  subscriptionName,
} from '../contender.ts';

type Entries = readonly (readonly [string, readonly (readonly [string, readonly string[]])[]])[] | null;

const blockMs = '1000';

export const openRedis: OpenContender = async ({ url, prefix, prefetch }) => {
  const stream = `${prefix}:orders`;
  const client = createClient({ url, RESP: 2 });
  const reader = createClient({ url, RESP: 2 });
  for (const one of [client, reader]) {
    // A lost connection is a fault of the run: each command that was hit rejects and ends the process.
    one.on('error', () => {});
    await one.connect();
  }
  await client.sendCommand(['XGROUP', 'CREATE', stream, subscriptionName, '0', 'MKSTREAM']);
  const publish = (n: number): Promise<unknown> =>
    client.sendCommand(['XADD', stream, '*', 'event', structuredEvent(n)]);
  const read = (): Promise<Entries> =>
    reader.sendCommand([
      'XREADGROUP',
      'GROUP',
      subscriptionName,
      'one',
      'COUNT',
      String(prefetch),
      'BLOCK',
      blockMs,
      'STREAMS',
      stream,
      '>',
    ]);
  let closing = false;
  let reading: Promise<void> = Promise.resolve();
  async function readAll(handled: (n: number) => void): Promise<void> {
    let next = read();
    while (!closing) {
      const entries = (await next)?.[0]?.[1] ?? [];
      for (const [, fields] of entries) handled(numberIn(fields[1] as string));
      const ids = entries.map(([id]) => id);
      const acked = ids.length > 0 ? reader.sendCommand(['XACK', stream, subscriptionName, ...ids]) : null;
      next = read();
      await acked;
    }
    await next;
  }
  const contender: Contender = {
    publish: async (n) => void (await publish(n)),
    fill: (count) => fillBy(publish, count),
    async consume(handled) {
      reading = readAll(handled);
    },
    async close() {
      closing = true;
      await reading;
      await client.sendCommand(['UNLINK', stream]);
      reader.destroy();
      client.destroy();
    },
  };
  return contender;
};
