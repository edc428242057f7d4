import { createHmac, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createManualClock } from '@doorbuster/messaging/conformance';
import { afterEach, describe, expect, it } from 'vitest';
import type { OutgoingMessage } from '../messenger.ts';
import { createWebhookMessenger } from './webhook.ts';

/** The value, with the effect done before. */
function after<T>(_effect: unknown, value: T): T {
  return value;
}

const key = randomBytes(32);
const clock = createManualClock(1_750_000_000_000);
const servers: Server[] = [];
afterEach(() => servers.splice(0).forEach((server) => after(server.closeAllConnections(), server.close())));

interface Received {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}
async function endpoint(status: number | 'silence' | 'hang-up', headers: Record<string, string> = {}) {
  const received: Received[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      received.push({ headers: request.headers, body });
      if (status === 'hang-up') return void response.destroy();
      if (status !== 'silence') response.writeHead(status, headers).end();
    });
  }).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, received };
}
const messenger = (url: string, allowPrivateAddresses = true) =>
  createWebhookMessenger({
    name: 'push',
    url,
    secret: `whsec_${key.toString('base64')}`,
    clock,
    allowPrivateAddresses,
  });
const message = (signal = new AbortController().signal): OutgoingMessage => ({
  messageId: 'spring.3.2@doorbuster',
  deliveryId: 'spring.3.2',
  campaignId: 'spring',
  contact: { phone: '+821000000000' },
  subject: '당첨',
  text: '쿠폰',
  voucher: { code: 'CODE-1' },
  locale: 'ko',
  signal,
});

describe('webhook', () => {
  it('signs as Standard Webhooks asks, with an id that stays and a timestamp per sending', async () => {
    const { url, received } = await endpoint(204);
    const push = messenger(url);
    expect(await push.send(message())).toEqual({ result: 'sent' });
    clock.advance(5_000);
    await push.send(message());
    await push.close();
    for (const { headers, body } of received) {
      const signed = `${String(headers['webhook-id'])}.${String(headers['webhook-timestamp'])}.${body}`;
      expect(headers['webhook-signature']).toBe(
        `v1,${createHmac('sha256', key).update(signed).digest('base64')}`,
      );
    }
    expect(received.map(({ headers }) => headers['webhook-id'])).toEqual([
      'spring.3.2@doorbuster',
      'spring.3.2@doorbuster',
    ]);
    expect(received.map(({ headers }) => headers['webhook-timestamp'])).toEqual(['1750000000', '1750000005']);
    expect(JSON.parse(received[0]!.body)).toMatchObject({
      type: 'voucher.message',
      data: { deliveryId: 'spring.3.2', voucher: { code: 'CODE-1' } },
    });
  });

  it.each([
    [410, { result: 'refused', permanent: true }],
    [429, { result: 'refused', permanent: false, retryAfterMs: 7_000 }],
    [500, { result: 'refused', permanent: false }],
    ['hang-up', { result: 'unknown', errorCode: 'connection-lost' }],
  ] as const)('%s', async (status, expected) => {
    const { url } = await endpoint(status, { 'retry-after': '7' });
    const push = messenger(url);
    expect(await push.send(message())).toMatchObject(expected);
    await push.close();
  });

  it.each([
    [200, { result: 'sent' }],
    [500, { result: 'refused', permanent: false }],
  ] as const)('%s is the answer, also when the connection is lost behind it', async (status, expected) => {
    const server = createServer((request, response) => {
      request.resume().on('end', () => {
        response.writeHead(status, { 'content-length': '1000' });
        response.write('a part of it', () => response.socket?.destroy());
      });
    }).listen(0, '127.0.0.1');
    servers.push(server);
    await once(server, 'listening');
    const push = messenger(`http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`);
    expect(await push.send(message())).toMatchObject(expected);
    await push.close();
  });

  it('silence is unknown', async () => {
    const { url, received } = await endpoint('silence');
    const push = messenger(url);
    const abort = new AbortController();
    const sending = push.send(message(abort.signal));
    while (received.length === 0) await new Promise((resolve) => setImmediate(resolve));
    abort.abort();
    expect(await sending).toMatchObject({ result: 'unknown', errorCode: 'timeout' });
    servers.forEach((server) => server.closeAllConnections());
    await push.close();
  });

  it('nobody there: refused, for nothing was sent', async () => {
    const push = messenger('http://127.0.0.1:1/');
    expect(await push.send(message())).toMatchObject({ result: 'refused', errorCode: 'unreachable' });
    await push.close();
  });

  it('follows no redirect', async () => {
    const inside = await endpoint(204);
    const { url } = await endpoint(307, { location: inside.url });
    const push = messenger(url);
    expect(await push.send(message())).toMatchObject({ result: 'refused', errorCode: 'http-307' });
    expect(inside.received).toEqual([]);
    await push.close();
  });

  it.each(['', 'localhost'])(
    'calls no address inside the network unless it is configured, by number or by name (%s)',
    async (name) => {
      const { url, received } = await endpoint(204);
      const guarded = messenger(name ? url.replace('127.0.0.1', name) : url, false);
      expect(await guarded.send(message())).toMatchObject({
        result: 'refused',
        errorCode: 'address-not-allowed',
        permanent: true,
      });
      expect(received).toEqual([]);
      await guarded.close();
      const allowed = messenger(url, true);
      expect(await allowed.send(message())).toEqual({ result: 'sent' });
      await allowed.close();
    },
  );
});
