import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { DatabaseSync } from 'node:sqlite';
import { createManualClock } from '@doorbuster/messaging/conformance';
import { createInProcessEngine } from '@doorbuster/messaging/engines/embedded';
import { afterEach, describe, expect, it } from 'vitest';
import { OperationalError } from '../../errors.ts';
import type { Ledger } from '../../ledger.ts';
import { openInProcessLedger } from '../../ledgers/sqlite/in-process.ts';
import { type Fixture, fixtureKeys, openFixture } from '../app-fixture.ts';
import { type Case, campaigns, table, textOf } from './testing/entry-cases.ts';
import { type RawAnswer, sendRaw } from './testing/raw-http.ts';

/** Two servers on two ledgers that went through the same: one with the short way in front, one with the router alone. */
interface Pair {
  readonly short: Side;
  readonly full: Side;
  both<T>(act: (side: Side) => Promise<T>): Promise<readonly [short: T, full: T]>;
}

interface Side {
  readonly fixture: Fixture;
  readonly port: number;
  /** Requests that the router has seen. */
  readonly routed: () => number;
}

const open: Fixture[] = [];
afterEach(async () => {
  for (const fixture of open.splice(0)) await fixture.close();
});

async function side(
  fastEntries: boolean,
  config: Readonly<Record<string, unknown>>,
  around?: (ledger: Ledger) => Ledger,
): Promise<Side> {
  const fixture = await openFixture({
    openLedger: (keys) => openInProcessLedger(keys),
    engine: createInProcessEngine(new DatabaseSync(':memory:')),
    keys: fixtureKeys(createManualClock(Date.UTC(2026, 10, 1))),
    config,
    fastEntries,
    ...(around ? { around } : {}),
  });
  open.push(fixture);
  // The framework makes a logger for each request that it is given, and the short way makes none.
  const { log } = fixture.deps;
  const child = log.child.bind(log);
  let routed = 0;
  log.child = (...args) => {
    routed += 1;
    return child(...args);
  };
  await fixture.app.listen({ host: '127.0.0.1', port: 0 });
  return { fixture, port: (fixture.app.server.address() as AddressInfo).port, routed: () => routed };
}

async function pair(
  config: Readonly<Record<string, unknown>> = {},
  around?: (ledger: Ledger) => Ledger,
): Promise<Pair> {
  const [short, full] = [await side(true, config, around), await side(false, config, around)];
  return { short, full, both: async (act) => [await act(short), await act(full)] };
}

/** The answer without what is random: ids, salts, signatures, digests, jitter. Everything else has to be the same. */
function comparable({ status, headers, body }: RawAnswer): unknown {
  const { date, ...rest }: Record<string, string> = { ...headers };
  const random = { 'x-request-id': /^[\w-]{8}-[0-9a-z]+$/, 'retry-after': /^[1-9]\d*$/ };
  for (const [name, form] of Object.entries(random)) {
    if (rest[name] === undefined) continue;
    expect(rest[name]).toMatch(form);
    rest[name] = name;
  }
  expect(date).toMatch(/GMT$/);
  const told = body.startsWith('{') ? (JSON.parse(body) as Record<string, unknown>) : body;
  if (typeof told === 'string') return { status, headers: rest, body: told };
  if (told['requestId'] === headers['x-request-id']) told['requestId'] = 'the id of the request';
  if (told['opening']) told['opening'] = Object.keys(told['opening']);
  // How long the body is follows from its digits and is checked by reading it.
  expect(rest['content-length']).toBe(String(Buffer.byteLength(body)));
  delete rest['content-length'];
  const receipt = told['receipt'] as { record: string } | undefined;
  if (!receipt) return { status, headers: rest, names: Object.keys(told), body: told };
  const { member: _m, answers: _a, ...record } = JSON.parse(receipt.record) as Record<string, unknown>;
  return {
    status,
    headers: rest,
    names: Object.keys(told),
    body: { ...told, receipt: Object.keys(receipt) },
    record,
  };
}

async function sendOne(on: Side, sent: Case): Promise<RawAnswer & { readonly routed: number }> {
  const { fixture, port, routed } = on;
  const { authorization } = fixture.bearer(sent.campaign ?? 'plain', sent.member ?? 'm1');
  const text = textOf(on, sent)
    .replace('Bearer TOKEN', `Bearer ${await fixture.token('by-token')}`)
    .replace(': PLAIN', `: ${fixture.bearer('plain', 'm1').authorization}`)
    .replace(': OWN', `: ${authorization}`)
    .replace('OWN', authorization.slice('Bearer '.length))
    .replace('content-length: \r\n', '');
  const before = routed();
  const [answer] = await sendRaw(port, [text]);
  return { ...(answer as RawAnswer), routed: routed() - before };
}

/** What was counted, without times and without what both sides are: the process. */
async function counted({ fixture }: Side): Promise<readonly string[]> {
  const { body } = await fixture.deps.metrics.expose();
  return body
    .split('\n')
    .filter((line) => /^doorbuster_(http_request_seconds_count|verdicts_total|shed_total)/.test(line))
    .sort();
}

/** Every entry with its answers, as the ledger has it. */
async function stored({ fixture }: Side): Promise<readonly unknown[]> {
  const entries: unknown[] = [];
  for (const id of ['plain', 'survey', 'waiting', 'soldout', 'adults'])
    for await (const chunk of fixture.ledger.evidence.allEntries(id)) entries.push(...chunk);
  return entries;
}

describe.each<readonly [string, Readonly<Record<string, unknown>>]>([
  ['as it comes', {}],
  [
    'with origins of the shop, under https',
    { allowedOrigins: ['https://shop.example'], publicUrl: 'https://give.example' },
  ],
  ['behind a proxy', { trustProxy: true }],
])('the short way answers as the full way does: %s', (_name, config) => {
  it('in every case of the table, and counts the same', async () => {
    const { short, full, both } = await pair({ ...config, limits: { addressBurst: 500, memberBurst: 100 } });
    await both(campaigns);
    await both(async ({ fixture }) => fixture.clock.advance(120_000));
    const before = await both(counted);
    for (const [name, sent] of table) {
      const [a, b] = [await sendOne(short, sent), await sendOne(full, sent)];
      const claimed = config['trustProxy'] === true && sent.headers?.['x-forwarded-for'] !== undefined;
      const way = claimed ? 'full' : sent.way;
      expect
        .soft([name, a.status, a.routed, b.routed])
        .toEqual([name, sent.status, way === 'full' ? 1 : 0, 1]);
      expect.soft({ name, ...(comparable(a) as object) }).toEqual({ name, ...(comparable(b) as object) });
    }
    const after = await both(counted);
    expect(after[0].length).toBeGreaterThan(before[0].length);
    expect(after[0]).toEqual(after[1]);
    const [kept, keptInFull] = await both(stored);
    expect(kept.length).toBeGreaterThan(10);
    expect(kept).toEqual(keptInFull);
    for (const { fixture } of [short, full]) expect((await fixture.ledger.verify()).violations).toEqual([]);
  });
});

describe('control: the comparison sees', () => {
  const sent: Case = { way: 'short', status: 201 };
  const told = async (on: Side): Promise<unknown> => comparable(await sendOne(on, sent));

  it('a header that one side alone has', async () => {
    const [one, another] = [await side(true, {}), await side(true, { publicUrl: 'https://give.example' })];
    for (const { fixture } of [one, another]) await fixture.campaign('plain');
    expect(await told(one)).not.toEqual(await told(another));
  });

  it('a request that one side counted twice', async () => {
    const [one, another] = [await side(true, {}), await side(true, {})];
    for (const { fixture } of [one, another]) await fixture.campaign('plain');
    another.fixture.deps.turnstile.address('127.0.0.1');
    expect(await told(one)).not.toEqual(await told(another));
  });

  it('a verdict that one side counted otherwise', async () => {
    const [one, another] = [await side(true, {}), await side(true, {})];
    another.fixture.deps.metrics.verdict('won', false);
    expect(await counted(one)).not.toEqual(await counted(another));
  });
});

/** A ledger that answers an entry once it is told to, or refuses it for now. */
function held() {
  const asked = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const around = (ledger: Ledger): Ledger => ({
    ...ledger,
    admission: {
      ...ledger.admission,
      async admit(id, commands) {
        asked.resolve();
        await go.promise;
        return ledger.admission.admit(id, commands);
      },
    },
  });
  return { around, asked: asked.promise, go: () => go.resolve() };
}

describe('the short way under a rough crowd', () => {
  const roomy = { limits: { addressBurst: 10_000, memberBurst: 1_000 } };
  async function opened(
    config: Readonly<Record<string, unknown>> = roomy,
    around?: (ledger: Ledger) => Ledger,
  ) {
    const on = await side(true, config, around);
    await on.fixture.campaign('plain', { stock: { capacity: 100 } });
    // Every campaign is read once before the short way knows it.
    await on.fixture.deps.campaigns.find('plain');
    return on;
  }
  const entryOf = (on: Side, member: string): string => textOf(on, { member, way: 'short', status: 201 });

  it('a request in any pieces, down to single bytes', async () => {
    const on = await opened();
    for (const [member, size] of [
      ['m1', 1],
      ['m2', 7],
      ['m3', 60],
    ] as const) {
      const text = entryOf(on, member);
      const pieces = Array.from({ length: Math.ceil(text.length / size) }, (_, i) =>
        text.slice(i * size, (i + 1) * size),
      );
      const [answer] = await sendRaw(on.port, pieces);
      expect([answer?.status, JSON.parse(answer?.body ?? '')]).toMatchObject([201, { verdict: 'won' }]);
    }
    expect(on.routed()).toBe(0);
  });

  it('many requests in one packet are answered in their order, short and full mixed', async () => {
    const on = await opened();
    const texts = Array.from({ length: 12 }, (_, i) =>
      textOf(on, { member: `m${i}`, way: 'short', status: 201, ...(i % 3 === 2 ? { body: '[]' } : {}) }),
    );
    const answers = await sendRaw(on.port, [texts.join('')], 12);
    expect(answers.map(({ status }) => status)).toEqual(texts.map((_, i) => (i % 3 === 2 ? 400 : 201)));
    const keys = answers.flatMap(
      ({ body }) => (JSON.parse(body) as { opening?: { memberKey: string } }).opening?.memberKey ?? [],
    );
    const { vault } = on.fixture.deps;
    expect(keys).toEqual(texts.flatMap((_, i) => (i % 3 === 2 ? [] : vault.memberKey('plain', `m${i}`))));
  });

  it('a client that waits to be told to go on', async () => {
    const on = await opened();
    const text = textOf(on, { headers: { expect: '100-continue' }, way: 'full', status: 201 });
    const answers = await sendRaw(on.port, [text], 2);
    expect(answers.map(({ status }) => status)).toEqual([100, 201]);
  });

  it('a client that leaves before its answer harms nobody, and its entry stands', async () => {
    const { around, asked, go } = held();
    const on = await opened(roomy, around);
    const socket = connect(on.port, '127.0.0.1');
    socket.write(entryOf(on, 'gone'));
    await asked;
    const closed = once(socket, 'close');
    socket.destroy();
    await closed;
    const other = sendRaw(on.port, [entryOf(on, 'stays')]);
    go();
    expect((await other)[0]?.status).toBe(201);
    const [again] = await sendRaw(on.port, [entryOf(on, 'gone')]);
    expect([again?.status, JSON.parse(again?.body ?? '')]).toMatchObject([
      200,
      { verdict: 'won', repeated: true },
    ]);
  });

  it('a client that leaves in the middle of its body enters nothing', async () => {
    const on = await opened();
    const text = textOf(on, {
      member: 'half',
      body: JSON.stringify({ answers: {} }),
      way: 'short',
      status: 201,
    });
    const gone = once(on.fixture.app.server, 'connection').then(([socket]) =>
      once(socket as Socket, 'close'),
    );
    const socket = connect(on.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(text.slice(0, -3), () => socket.destroy());
    await gone;
    expect((await sendRaw(on.port, [entryOf(on, 'after')]))[0]?.status).toBe(201);
    expect((await on.fixture.ledger.campaigns.get('plain'))?.lane?.seq).toBe(1);
  });

  it('more than may wait: 503 with Retry-After, counted; nothing decided', async () => {
    const { around, asked, go } = held();
    const on = await opened({ limits: { ...roomy.limits, waitingEntries: 1 } }, around);
    const crowd = Array.from({ length: 30 }, (_, i) =>
      sendRaw(on.port, [entryOf(on, `m${i}`)]).then(([answer]) => answer!),
    );
    await asked;
    const shed = await Promise.race(crowd);
    expect(shed.status).toBe(503);
    expect(Number(shed.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect(JSON.parse(shed.body)).toMatchObject({
      code: 'ADMISSION_FULL',
      requestId: shed.headers['x-request-id'],
    });
    go();
    const statuses = (await Promise.all(crowd)).map(({ status }) => status);
    expect(new Set(statuses)).toEqual(new Set([201, 503]));
    expect((await on.fixture.ledger.campaigns.get('plain'))?.lane?.seq).toBe(
      statuses.filter((status) => status === 201).length,
    );
    expect((await counted(on)).join()).toContain('reason="waiting-entries"');
    expect(on.routed()).toBe(0);
  });

  it("more than the member's rate: 429, and the address's: 429", async () => {
    const on = await opened({
      limits: { memberPerSecond: 1, memberBurst: 2, addressPerSecond: 1, addressBurst: 4 },
    });
    const statuses: (number | undefined)[] = [];
    for (let i = 0; i < 5; i += 1) statuses.push((await sendRaw(on.port, [entryOf(on, 'm1')]))[0]?.status);
    expect(statuses).toEqual([201, 200, 429, 429, 429]);
    // The last one was shed by its address, before anything else, by the full way.
    expect(on.routed()).toBe(1);
    expect((await counted(on)).filter((line) => line.includes('shed'))).toEqual([
      expect.stringMatching(/address-rate.* 1$/),
      expect.stringMatching(/member-rate.* 2$/),
    ]);
  });

  it('a ledger that is busy: 503 for the whole batch, and the log has it once', async () => {
    const on = await opened(roomy, (ledger) => ({
      ...ledger,
      admission: {
        ...ledger.admission,
        admit: () => Promise.reject(new OperationalError('LEDGER_FULL', { retryAfterMs: 3_000 })),
      },
    }));
    const answers = await Promise.all([1, 2, 3].map((i) => sendRaw(on.port, [entryOf(on, `m${i}`)])));
    for (const [answer] of answers) {
      expect([answer?.status, JSON.parse(answer?.body ?? '')]).toMatchObject([503, { code: 'LEDGER_FULL' }]);
      expect(Number(answer?.headers['retry-after'])).toBeGreaterThanOrEqual(3);
    }
    expect(on.routed()).toBe(0);
  });

  it('while the process stops: what is under way is answered, and the connection closed', async () => {
    const { around, asked, go } = held();
    const on = await opened(roomy, around);
    const waiting = sendRaw(on.port, [entryOf(on, 'm1')]);
    await asked;
    on.fixture.app.doorbuster.draining = true;
    const drained = on.fixture.admission.drain();
    const late = await sendRaw(on.port, [entryOf(on, 'm2')]);
    expect([late[0]?.status, late[0]?.headers['connection']]).toEqual([503, 'close']);
    go();
    await drained;
    const [answer] = await waiting;
    expect([answer?.status, answer?.headers['connection']]).toEqual([201, 'close']);
  });

  it('keeps the limits of the server against clients that never finish', async () => {
    const { app } = (await opened()).fixture;
    const { requestTimeout, headersTimeout, keepAliveTimeout, timeout, maxConnections } = app.server;
    expect({ requestTimeout, headersTimeout, keepAliveTimeout, timeout }).toEqual({
      requestTimeout: 60_000,
      headersTimeout: 10_000,
      keepAliveTimeout: 72_000,
      timeout: 0,
    });
    expect(maxConnections).toBeGreaterThan(0);
  });
});
