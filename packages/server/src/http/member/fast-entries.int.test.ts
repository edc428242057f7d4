import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { DatabaseSync } from 'node:sqlite';
import { createManualClock } from '@doorbuster/messaging';
import { createInProcessEngine } from '@doorbuster/messaging/engines/embedded';
import { afterEach, describe, expect, it } from 'vitest';
import type { CampaignDefinition } from '../../campaign/definition.ts';
import { OperationalError } from '../../errors.ts';
import type { Ledger } from '../../ledger.ts';
import { openInProcessLedger } from '../../ledgers/sqlite/in-process.ts';
import { type Fixture, fixtureKeys, openFixture, tester } from '../app-fixture.ts';
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

const label = (en: string) => ({ en });
const option = (id: string) => ({ id, label: label(id) });
const questions: NonNullable<CampaignDefinition['survey']>['questions'] = [
  {
    id: 'flavour',
    type: 'single',
    label: label('Which?'),
    required: true,
    options: [option('green'), option('black')],
  },
  { id: 'uses', type: 'multiple', label: label('When?'), options: [option('am'), option('pm')] },
  { id: 'why', type: 'text', label: label('Why?') },
  { id: 'age', type: 'number', label: label('Age?'), min: 1 },
  { id: 'again', type: 'scale', label: label('Again?') },
];
const adult = {
  questions: [
    {
      id: 'adult',
      type: 'single' as const,
      label: label('Adult?'),
      options: [option('yes'), option('no')],
      qualifying: ['yes'],
    },
  ],
  screeningReason: { ko: '성인만 참여합니다.', en: 'Adults only.' },
};

/** Every state that a campaign can be met in. */
async function campaigns({ fixture }: Side): Promise<void> {
  const { ledger, clock } = fixture;
  const capacity = { stock: { capacity: 1_000, closeWhenSoldOut: false } };
  const one = { stock: { capacity: 1, closeWhenSoldOut: false } };
  await fixture.campaign('plain', capacity);
  await fixture.campaign('survey', { ...capacity, survey: { questions } });
  await fixture.campaign('adults', { ...capacity, survey: adult });
  await fixture.campaign('waiting', { stock: { capacity: 1, waitlistLimit: 5, closeWhenSoldOut: false } });
  await fixture.campaign('soldout', { ...one, survey: { questions } });
  await fixture.campaign('closed', capacity);
  await fixture.campaign('ending', { stock: { capacity: 1 } });
  await fixture.campaign('paused', capacity);
  await fixture.campaign('queued', { ...capacity, intake: 'queued' });
  const later = new Date(clock.now() + 3_600_000).toISOString();
  await fixture.campaign('early', { ...capacity, startsAt: later }, false);
  const draft = {
    title: label('x'),
    prize: label('x'),
    startsAt: later,
    stock: { capacity: 1 },
    reward: { messengers: ['file'] },
  };
  await ledger.campaigns.create('draft', draft, tester);
  await ledger.campaigns.command('paused', { type: 'pause' }, tester);
  await ledger.campaigns.command('closed', { type: 'close' }, tester);
  const green = { answers: { flavour: 'green' } };
  await fixture.enter('soldout', 'winner', green);
  await fixture.enter('waiting', 'winner');
  await fixture.enter('ending', 'winner');
  await fixture.enter('plain', 'winner');
  // The refusal is ready once somebody else met it, and every campaign has been read.
  for (const id of ['soldout', 'ending', 'closed']) await refused(fixture, id);
  for (const id of ['survey', 'adults', 'paused', 'queued', 'early', 'draft'])
    await fixture.deps.campaigns.find(id);
}

/** Until memory refuses there: the receipt of the record is on its way. */
async function refused(fixture: Fixture, id: string): Promise<void> {
  const { campaigns: book, admission, vault } = fixture.deps;
  for (;;) {
    const campaign = await book.find(id);
    if (campaign && admission.refusal(campaign, vault.memberKey(id, 'stranger')) !== null) return;
    await fixture.enter(id, 'stranger', { answers: { flavour: 'green' } });
  }
}

interface Case {
  readonly campaign?: string;
  readonly member?: string;
  /** Null: a request without any body. */
  readonly body?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
  /** Instead of the bearer of the member's session; null: none. */
  readonly credentials?: string | null;
  readonly path?: string;
  readonly method?: string;
  readonly way: 'short' | 'full';
  readonly status: number;
}

function textOf({ fixture }: Side, given: Case): string {
  const { campaign = 'plain', member = 'm1', body = '{}', credentials, headers = {} } = given;
  const { authorization } = fixture.bearer(campaign, member);
  const { path = `/v1/campaigns/${campaign}/entries`, method = 'POST' } = given;
  const all = {
    host: 'shop.example',
    ...(credentials === null ? {} : { authorization: credentials ?? authorization }),
    ...(body === null
      ? {}
      : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) }),
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body ?? ''}`;
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

const answers = (given: object): string => JSON.stringify({ answers: given });
const good = { campaign: 'survey', body: answers({ flavour: 'green', again: 5 }) } as const;
const wide = '가'.repeat(400);
const other = 'https://foreign.example';
const chunked = { 'transfer-encoding': 'chunked', 'content-length': '' };

/** In order: who entered is in. */
const table: readonly (readonly [name: string, sent: Case])[] = [
  ['an entry where nothing is asked', { way: 'short', status: 201 }],
  ['the same again', { way: 'short', status: 200 }],
  ['and once more, with other bytes', { body: '{ "answers" : {} }', way: 'short', status: 200 }],
  ['no body at all', { member: 'm2', body: null, way: 'short', status: 201 }],
  ['an empty body', { member: 'm3', body: '', way: 'short', status: 201 }],
  ['null for a body', { member: 'm4', body: 'null', way: 'full', status: 201 }],
  ['answers to a survey', { ...good, way: 'short', status: 201 }],
  ['the same answers again', { ...good, way: 'short', status: 200 }],
  ['faulty answers of who is in', { ...good, body: answers({ flavour: 'red' }), way: 'full', status: 200 }],
  [
    'every kind of question',
    {
      ...good,
      member: 's2',
      body: answers({ flavour: 'black', uses: ['pm', 'am'], why: wide, age: 40.5, again: 1 }),
      way: 'short',
      status: 201,
    },
  ],
  [
    'a line break and a quote in a text',
    { ...good, member: 's3', body: answers({ flavour: 'black', why: 'a\n"b"' }), way: 'short', status: 201 },
  ],
  [
    'escapes of characters',
    { ...good, member: 's4', body: '{"answers":{"flavour":"gr\\u0065en"}}', way: 'full', status: 201 },
  ],
  [
    'a long text of blanks',
    {
      ...good,
      member: 's5',
      body: answers({ flavour: 'green', why: ' '.repeat(2_500) }),
      way: 'full',
      status: 400,
    },
  ],
  [
    'a text that is too long',
    {
      ...good,
      member: 's5',
      body: answers({ flavour: 'green', why: 'x'.repeat(1_500) }),
      way: 'full',
      status: 422,
    },
  ],
  ['a missing answer', { ...good, member: 's5', body: '{}', way: 'full', status: 422 }],
  [
    'an answer of a wrong type',
    { ...good, member: 's5', body: answers({ flavour: 7 }), way: 'full', status: 422 },
  ],
  [
    'an answer that no question takes',
    { ...good, member: 's5', body: answers({ flavour: true }), way: 'full', status: 400 },
  ],
  [
    'an unknown question',
    { ...good, member: 's5', body: answers({ flavour: 'green', x: 'y' }), way: 'full', status: 422 },
  ],
  [
    'a number beyond all numbers',
    { ...good, member: 's5', body: '{"answers":{"flavour":"green","age":1e999}}', way: 'full', status: 422 },
  ],
  ['answers where nothing is asked', { member: 'm5', body: answers({ q: 'x' }), way: 'full', status: 422 }],
  ['answers that are a list', { member: 'm5', body: '{"answers":[]}', way: 'full', status: 400 }],
  ['answers that are null', { member: 'm5', body: '{"answers":null}', way: 'full', status: 400 }],
  ['an unknown field', { member: 'm5', body: '{"answers":{},"winner":true}', way: 'full', status: 400 }],
  ['a list', { member: 'm5', body: '[]', way: 'full', status: 400 }],
  ['a number', { member: 'm5', body: '7', way: 'full', status: 400 }],
  ['broken JSON', { member: 'm5', body: '{"answers":', way: 'full', status: 400 }],
  ['a byte order mark', { member: 'm5', body: '\ufeff{}', way: 'full', status: 201 }],
  ['a prototype', { member: 'm6', body: '{"__proto__":{"admin":true}}', way: 'full', status: 400 }],
  ['a constructor', { member: 'm6', body: '{"constructor":{"prototype":{}}}', way: 'full', status: 400 }],
  [
    'a prototype in escapes',
    { member: 'm6', body: '{"\\u005f_proto__":{"admin":true}}', way: 'full', status: 400 },
  ],
  [
    'deep JSON',
    {
      member: 'm6',
      body: `{"answers":${'{"a":'.repeat(1_000)}1${'}'.repeat(1_000)}}`,
      way: 'full',
      status: 400,
    },
  ],
  ['a body of 20 KB', { member: 'm6', body: answers({ q: 'x'.repeat(20_000) }), way: 'full', status: 400 }],
  ['a body beyond the limit', { member: 'm6', body: ' '.repeat(70_000), way: 'full', status: 413 }],
  [
    'a chunked body',
    { member: 'm6', body: '2\r\n{}\r\n0\r\n\r\n', headers: chunked, way: 'full', status: 201 },
  ],
  ['plain text', { member: 'm7', headers: { 'content-type': 'text/plain' }, way: 'full', status: 415 }],
  [
    'a form',
    {
      member: 'm7',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      way: 'full',
      status: 415,
    },
  ],
  [
    'JSON that says how it is coded',
    {
      member: 'm7',
      headers: { 'content-type': 'application/json; charset=utf-8' },
      way: 'short',
      status: 201,
    },
  ],
  [
    'JSON of another coding',
    {
      member: 'm7',
      headers: { 'content-type': 'application/json; charset=latin1' },
      way: 'full',
      status: 200,
    },
  ],
  ['a packed body', { member: 'm8', headers: { 'content-encoding': 'gzip' }, way: 'full', status: 201 }],
  ['an Idempotency-Key', { member: 'm8', headers: { 'idempotency-key': 'k' }, way: 'short', status: 200 }],
  [
    'a cookie beside the bearer',
    { member: 'm9', headers: { cookie: 'doorbuster_session=x' }, way: 'short', status: 201 },
  ],
  [
    'header names in capitals',
    { member: 'm10', credentials: null, headers: { AUTHORIZATION: 'OWN' }, way: 'short', status: 201 },
  ],
  [
    'the origin of the shop',
    { member: 'm11', headers: { origin: 'https://shop.example' }, way: 'short', status: 201 },
  ],
  ['a foreign origin', { member: 'm11', headers: { origin: other }, way: 'short', status: 200 }],
  [
    'an address that a stranger claims',
    { member: 'm11', headers: { 'x-forwarded-for': '203.0.113.9' }, way: 'short', status: 200 },
  ],
  [
    'a connection that is to be kept',
    { member: 'm11', headers: { connection: 'keep-alive' }, way: 'short', status: 200 },
  ],
  [
    'a connection that is to end',
    { member: 'm11', headers: { connection: 'close' }, way: 'full', status: 200 },
  ],
  [
    'an upgrade',
    { member: 'm11', headers: { connection: 'upgrade', upgrade: 'h2c' }, way: 'full', status: 200 },
  ],
  ['no credentials', { credentials: null, way: 'full', status: 401 }],
  ['an altered session', { credentials: 'Bearer s1.x.y.z', way: 'full', status: 401 }],
  ['a session of another key', { credentials: 'Bearer s9.x.y.z', way: 'full', status: 401 }],
  ['a scheme in lower case', { credentials: 'bearer OWN', way: 'full', status: 200 }],
  ['two blanks before the session', { credentials: 'Bearer  OWN', way: 'full', status: 200 }],
  ['another scheme', { credentials: 'Basic eDp5', way: 'full', status: 401 }],
  ['a token of the shop', { credentials: 'Bearer TOKEN', way: 'full', status: 201 }],
  ['a bad token', { credentials: 'Bearer a.b.c', way: 'full', status: 401 }],
  [
    'an altered session and a broken body',
    { credentials: 'Bearer s1.x.y.z', body: '{', way: 'full', status: 401 },
  ],
  ['a session of another campaign', { campaign: 'survey', credentials: 'PLAIN', way: 'full', status: 401 }],
  ['an unknown campaign', { campaign: 'nowhere', way: 'full', status: 404 }],
  ['a draft', { campaign: 'draft', way: 'full', status: 404 }],
  ['an id that cannot be one', { campaign: 'Plain', way: 'full', status: 400 }],
  ['an id in escapes', { path: '/v1/campaigns/%70lain/entries', way: 'full', status: 200 }],
  ['a query', { path: '/v1/campaigns/plain/entries?x=1', way: 'full', status: 200 }],
  ['a slash at the end', { path: '/v1/campaigns/plain/entries/', way: 'full', status: 404 }],
  ['another method', { method: 'PUT', way: 'full', status: 405 }],
  ['on the waitlist', { campaign: 'waiting', way: 'short', status: 201 }],
  ['on the waitlist, again', { campaign: 'waiting', way: 'short', status: 200 }],
  [
    'ineligible, in English',
    {
      campaign: 'adults',
      body: answers({ adult: 'no' }),
      headers: { 'accept-language': 'en' },
      way: 'short',
      status: 403,
    },
  ],
  [
    'ineligible, in the language of the house',
    { campaign: 'adults', body: answers({ adult: 'no' }), way: 'short', status: 403 },
  ],
  ['sold out', { ...good, campaign: 'soldout', member: 's9', way: 'short', status: 410 }],
  [
    'sold out, whatever the answers',
    { campaign: 'soldout', member: 's9', body: answers({ flavour: 'red' }), way: 'short', status: 410 },
  ],
  [
    'sold out, whatever the body',
    { campaign: 'soldout', member: 's9', body: '{"broken', way: 'short', status: 410 },
  ],
  [
    'sold out, the winner again',
    { ...good, campaign: 'soldout', member: 'winner', way: 'short', status: 200 },
  ],
  [
    'sold out, an altered session',
    { campaign: 'soldout', credentials: 'Bearer s1.x.y.z', way: 'full', status: 401 },
  ],
  ['sold out and closed by it', { campaign: 'ending', way: 'short', status: 410 }],
  ['closed', { campaign: 'closed', way: 'short', status: 410 }],
  ['paused', { campaign: 'paused', way: 'short', status: 409 }],
  ['not open', { campaign: 'early', way: 'short', status: 409 }],
  ['queued intake', { campaign: 'queued', way: 'full', status: 202 }],
];

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
