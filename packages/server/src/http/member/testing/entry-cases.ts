/**
 * Every request that an entry may come as, and every state that its campaign may be met in: what the short way and the full way are compared by. In order,
 * because who entered is in.
 */
import type { CampaignDefinition } from '../../../campaign/definition.ts';
import { type Fixture, tester } from '../../app-fixture.ts';

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

interface Held {
  readonly fixture: Fixture;
}

/** Every state that a campaign can be met in. */
export async function campaigns({ fixture }: Held): Promise<void> {
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

export interface Case {
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

export function textOf({ fixture }: Held, given: Case): string {
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

const answers = (given: object): string => JSON.stringify({ answers: given });
const good = { campaign: 'survey', body: answers({ flavour: 'green', again: 5 }) } as const;
const wide = '가'.repeat(400);
const other = 'https://foreign.example';
const chunked = { 'transfer-encoding': 'chunked', 'content-length': '' };

/** In order: who entered is in. */
export const table: readonly (readonly [name: string, sent: Case])[] = [
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
