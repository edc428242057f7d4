import { DatabaseSync } from 'node:sqlite';
import type { AddressInfo } from 'node:net';
import { createConnection } from 'node:net';
import { once } from 'node:events';
import { createInProcessEngine } from '@doorbuster/messaging/engines/embedded';
import { afterEach, describe, expect, it } from 'vitest';
import { openInProcessLedger } from '../../ledgers/sqlite/in-process.ts';
import { type Fixture, type FixtureOptions, openFixture, tester } from '../app-fixture.ts';

let fixture: Fixture;
afterEach(() => fixture.close());

async function open(options: Partial<FixtureOptions> = {}): Promise<void> {
  fixture = await openFixture({
    openLedger: (keys) => openInProcessLedger(keys),
    engine: createInProcessEngine(new DatabaseSync(':memory:')),
    ...options,
  });
}

async function listen(): Promise<string> {
  await fixture.app.listen({ host: '127.0.0.1', port: 0 });
  return `http://127.0.0.1:${(fixture.app.server.address() as AddressInfo).port}`;
}

/** Reads server-sent events one by one. */
async function* events(
  response: Response,
): AsyncGenerator<{ id: string; event: string; data: Record<string, unknown> }> {
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    text += decoder.decode(chunk, { stream: true });
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const fields = Object.fromEntries(
        text
          .slice(0, end)
          .split('\n')
          .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
      );
      text = text.slice(end + 2);
      if (fields['data'])
        yield {
          id: fields['id']!,
          event: fields['event']!,
          data: JSON.parse(fields['data']) as Record<string, unknown>,
        };
    }
  }
}

describe('the status', () => {
  it("tells state, times and units by the server's clock, cacheable, without a cookie", async () => {
    await open();
    const startsAt = fixture.clock.now() + 60_000;
    await fixture.campaign(
      'gift',
      { startsAt: new Date(startsAt).toISOString(), stock: { capacity: 10, safetyStock: 2 } },
      false,
    );
    const url = '/v1/campaigns/gift/status';
    const early = await fixture.app.inject(url);
    expect(early.headers['cache-control']).toBe('public, max-age=1');
    expect(early.cookies).toEqual([]);
    expect(early.json()).toEqual({
      campaignId: 'gift',
      state: 'scheduled',
      startsAt: new Date(startsAt).toISOString(),
      endsAt: null,
      serverTime: new Date(fixture.clock.now()).toISOString(),
      soldOut: false,
      soldOutAt: null,
      remaining: 8,
      capacity: 8,
    });
    fixture.clock.advance(59_999);
    expect((await fixture.app.inject(url)).json()).toMatchObject({ state: 'scheduled' });
    fixture.clock.advance(1);
    expect((await fixture.app.inject(url)).json()).toMatchObject({ state: 'open' });
  });

  it('has an ETag that changes with the state and not with the clock', async () => {
    await open();
    await fixture.campaign('gift', { stock: { capacity: 1, closeWhenSoldOut: false } });
    const url = '/v1/campaigns/gift/status';
    const { etag } = (await fixture.app.inject(url)).headers as { etag: string };
    fixture.clock.advance(5_000);
    expect((await fixture.app.inject({ url, headers: { 'if-none-match': etag } })).statusCode).toBe(304);
    await fixture.enter('gift', 'm1');
    const changed = await fixture.app.inject({ url, headers: { 'if-none-match': etag } });
    expect(changed.json()).toMatchObject({
      soldOut: true,
      remaining: 0,
      soldOutAt: new Date(fixture.clock.now()).toISOString(),
    });
  });

  it('shows no draft and no unknown campaign', async () => {
    await open();
    const definition = {
      title: { en: 'x' },
      prize: { en: 'x' },
      startsAt: '2026-12-01T00:00:00Z',
      stock: { capacity: 1 },
      reward: { messengers: ['file'] },
    };
    await fixture.ledger.campaigns.create('draft', definition, tester);
    for (const id of ['draft', 'nothing'])
      expect((await fixture.app.inject(`/v1/campaigns/${id}/status`)).statusCode).toBe(404);
    // Publication is seen at once, though the draft was remembered.
    await fixture.ledger.campaigns.publish('draft', tester);
    expect((await fixture.app.inject('/v1/campaigns/draft/status')).statusCode).toBe(200);
  });
});

describe('events', () => {
  it('live counts: now, at a change, with an id to come back with; ended by the server when it stops', async () => {
    await open();
    await fixture.campaign('gift', { stock: { capacity: 2, closeWhenSoldOut: false } });
    const base = await listen();
    const response = await fetch(`${base}/v1/campaigns/gift/live`);
    expect(response.headers.get('content-type')).toContain('text/event-stream');
    const stream = events(response);
    const first = (await stream.next()).value!;
    expect(first).toMatchObject({ event: 'counts', data: { state: 'open', entries: 0, remaining: 2 } });
    await fixture.enter('gift', 'm1');
    const second = (await stream.next()).value!;
    expect(second.data).toMatchObject({ entries: 1, remaining: 1 });
    expect(second.id).not.toBe(first.id);
    // Within a quarter of a second nothing more is told; then the newest only.
    await fixture.enter('gift', 'm2');
    await fixture.enter('gift', 'm3');
    fixture.clock.advance(250);
    expect((await stream.next()).value!.data).toMatchObject({ entries: 2, remaining: 0, soldOut: true });
    const again = events(
      await fetch(`${base}/v1/campaigns/gift/live`, { headers: { 'last-event-id': second.id } }),
    );
    expect((await again.next()).value!.data).toMatchObject({ entries: 2 });
    await fixture.app.close();
    expect((await stream.next()).done).toBe(true);
  });

  it('the own entry: pending, then the verdict, without asking again', async () => {
    const gate = Promise.withResolvers<void>();
    await open({
      around: (ledger) => ({
        ...ledger,
        admission: {
          ...ledger.admission,
          admit: (id, commands) => gate.promise.then(() => ledger.admission.admit(id, commands)),
        },
      }),
    });
    await fixture.campaign('gift', { intake: 'queued' });
    const base = await listen();
    await fixture.enter('gift', 'm1');
    const headers = { ...fixture.bearer('gift', 'm1'), accept: 'text/event-stream' };
    const stream = events(await fetch(`${base}/v1/campaigns/gift/entries/mine`, { headers }));
    expect((await stream.next()).value!.data).toMatchObject({ verdict: 'pending', final: false });
    gate.resolve();
    const told = (await stream.next()).value!;
    expect(told.data).toMatchObject({ verdict: 'won', seq: 1, delivery: { state: 'due' } });
    expect(told.data['receipt']).toBeDefined();
    expect(told.data).not.toHaveProperty('voucher');
  });

  it('a queued entry that came too late ends the stream with its refusal', async () => {
    const gate = Promise.withResolvers<void>();
    await open({
      around: (ledger) => ({
        ...ledger,
        admission: {
          ...ledger.admission,
          admit: (id, commands) => gate.promise.then(() => ledger.admission.admit(id, commands)),
        },
      }),
    });
    await fixture.campaign('gift', { intake: 'queued', stock: { capacity: 1 } });
    const base = await listen();
    await fixture.enter('gift', 'm1');
    await fixture.enter('gift', 'm2');
    const headers = { ...fixture.bearer('gift', 'm2'), accept: 'text/event-stream' };
    const stream = events(await fetch(`${base}/v1/campaigns/gift/entries/mine`, { headers }));
    await stream.next();
    gate.resolve();
    expect((await stream.next()).value!.data).toMatchObject({ verdict: 'sold-out', final: true });
    expect((await stream.next()).done).toBe(true);
  });
});

describe('the process', () => {
  it('is alive, ready, and not ready while starting or draining', async () => {
    await open();
    expect((await fixture.app.inject('/livez')).statusCode).toBe(200);
    expect((await fixture.app.inject('/readyz')).statusCode).toBe(200);
    fixture.app.doorbuster.starting = true;
    expect((await fixture.app.inject('/readyz')).statusCode).toBe(503);
    fixture.app.doorbuster.starting = false;
    fixture.app.doorbuster.draining = true;
    const answer = await fixture.app.inject('/readyz');
    expect(answer.statusCode).toBe(503);
    expect(answer.headers['retry-after']).toBeDefined();
    expect((await fixture.app.inject('/livez')).statusCode).toBe(200);
  });

  it('says 503 to entries once it drains', async () => {
    await open();
    await fixture.campaign('gift');
    await fixture.admission.drain();
    const answer = await fixture.enter('gift', 'm1');
    expect(answer.statusCode).toBe(503);
    expect(answer.headers['retry-after']).toBeDefined();
  });

  it('counts requests by route pattern and verdicts by name', async () => {
    await open();
    await fixture.campaign('gift');
    await fixture.enter('gift', 'm1');
    await fixture.enter('gift', 'm1');
    const { body, headers } = await fixture.app.inject('/metrics');
    expect(headers['content-type']).toContain('text/plain');
    expect(body).toMatch(
      /doorbuster_http_request_seconds_count\{route="\/v1\/campaigns\/:campaignId\/entries",method="POST",status="201"\} 1/,
    );
    expect(body).toMatch(/doorbuster_verdicts_total\{verdict="won",repeated="true"\} 1/);
    expect(body).toMatch(/doorbuster_batch_entries_count 2/);
  });

  it('every answer carries its request id and the security headers; nothing says what it runs on', async () => {
    await open();
    const ids = new Set<unknown>();
    for (const url of ['/livez', '/nothing', '/c/nothing']) {
      const { headers } = await fixture.app.inject(url);
      ids.add(headers['x-request-id']);
      expect(headers).toMatchObject({
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'same-origin',
      });
      expect(headers['x-powered-by']).toBeUndefined();
    }
    expect(ids.size).toBe(3);
  });
});

describe('limits', () => {
  it('of an address: 429 with Retry-After and RateLimit, probes not counted', async () => {
    await open({ config: { limits: { addressPerSecond: 1, addressBurst: 2 } } });
    await fixture.campaign('gift');
    const codes: number[] = [];
    for (let i = 0; i < 3; i += 1)
      codes.push((await fixture.app.inject('/v1/campaigns/gift/status')).statusCode);
    expect(codes).toEqual([200, 200, 429]);
    const { headers } = await fixture.app.inject('/v1/campaigns/gift/status');
    expect(headers['ratelimit']).toBe('"address";r=0;t=1');
    expect(headers['ratelimit-policy']).toBe('"address";q=2;w=2');
    expect(Number(headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect((await fixture.app.inject('/readyz')).statusCode).toBe(200);
  });

  it('of the event streams of an address: a problem with Retry-After, and the stream that was open goes on', async () => {
    await open({ config: { limits: { addressStreams: 1 } } });
    await fixture.campaign('gift');
    const base = await listen();
    const stream = events(await fetch(`${base}/v1/campaigns/gift/live`));
    expect((await stream.next()).value!.data).toMatchObject({ entries: 0 });
    const refused = await fetch(`${base}/v1/campaigns/gift/live`);
    expect(refused.status).toBe(503);
    expect(await refused.json()).toMatchObject({ type: '/docs/errors#too-many-streams' });
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    await fixture.enter('gift', 'm1');
    expect((await stream.next()).value!.data).toMatchObject({ entries: 1 });
  });

  it("an address is the proxy's word only when the proxy is trusted", async () => {
    await open({ config: { limits: { addressPerSecond: 1, addressBurst: 1 } } });
    await fixture.campaign('gift');
    const ask = (from: string) =>
      fixture.app.inject({ url: '/v1/campaigns/gift/status', headers: { 'x-forwarded-for': from } });
    expect([(await ask('203.0.113.1')).statusCode, (await ask('203.0.113.2')).statusCode]).toEqual([
      200, 429,
    ]);
  });

  it("CORS: the shop's origins and no others, never with credentials", async () => {
    await open({ config: { allowedOrigins: ['https://shop.example'] } });
    await fixture.campaign('gift');
    const ask = (origin: string) =>
      fixture.app.inject({ url: '/v1/campaigns/gift/status', headers: { origin } });
    expect((await ask('https://shop.example')).headers['access-control-allow-origin']).toBe(
      'https://shop.example',
    );
    expect((await ask('https://evil.example')).headers['access-control-allow-origin']).toBeUndefined();
    expect((await ask('https://shop.example')).headers['access-control-allow-credentials']).toBeUndefined();
  });

  it.each([
    [
      'headers beyond 16 KiB',
      (host: string) => `GET /livez HTTP/1.1\r\nhost: ${host}\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`,
      '431',
    ],
    ['broken HTTP', () => 'NONSENSE\r\n\r\n', '400'],
    [
      'two lengths',
      (host: string) =>
        `POST /livez HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx`,
      '400',
    ],
  ])('%s: a problem, and the socket is closed', async (_name, request, status) => {
    await open();
    await listen();
    const { port } = fixture.app.server.address() as AddressInfo;
    const socket = createConnection(port, '127.0.0.1');
    socket.write(request(`127.0.0.1:${port}`));
    let answer = '';
    socket.on('data', (data) => (answer += data.toString()));
    await once(socket, 'close');
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status}`));
    expect(answer).toContain('application/problem+json');
  });
});
