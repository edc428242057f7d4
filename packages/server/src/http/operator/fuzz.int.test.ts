/** Whatever is sent, the answer is ours: documented, a problem where it refuses, never a failure inside. */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { definition, type OperatorRig, openOperatorRig } from './testing/operator-rig.ts';

let rig: OperatorRig;
beforeAll(async () => {
  rig = await openOperatorRig();
  await rig.open('fuzzed', { stock: { capacity: 5, waitlistLimit: 5 } });
  await rig.enter('fuzzed', 'm1', 'm2');
});
afterAll(() => rig.close());

const bodies = [
  '/v1/campaigns',
  '/v1/campaigns/fuzzed/copies',
  '/v1/campaigns/fuzzed/publications',
  '/v1/campaigns/fuzzed/pauses',
  '/v1/campaigns/fuzzed/stock-changes',
  '/v1/campaigns/fuzzed/delivery-batches',
  '/v1/campaigns/fuzzed/replacements',
  '/v1/campaigns/fuzzed/revocations',
  '/v1/campaigns/fuzzed/erasures',
  '/v1/campaigns/fuzzed/bans',
  '/v1/campaigns/fuzzed/member-look-ups',
  '/v1/campaigns/fuzzed/members',
  '/v1/campaigns/fuzzed/voucher-codes',
  '/v1/api-keys',
];
const names = [
  'id',
  'definition',
  'title',
  'stock',
  'capacity',
  'capacityBy',
  'safetyStock',
  'seq',
  'memberId',
  'filter',
  'state',
  'resend',
  'name',
  'scopes',
  'code',
  '__proto__',
  'constructor',
];
const leaf = fc.oneof(
  fc.jsonValue({ maxDepth: 1 }),
  fc.string({ unit: 'binary' }),
  fc.constantFrom(1e300, -1, 2 ** 53, 0.1, '', 'a'.repeat(5_000), '\ud800'),
);
const { body } = fc.letrec((tie) => ({
  body: fc.oneof(
    { depthSize: 'small' },
    leaf,
    fc.dictionary(fc.constantFrom(...names), tie('body'), { maxKeys: 5 }),
    fc.array(tie('body'), { maxLength: 3 }),
  ),
}));
/** A right definition with one thing replaced: reaches deeper than noise does. */
const nearly = fc
  .tuple(fc.constantFrom(...Object.keys(definition)), body)
  .map(([name, value]) => ({ definition: { ...definition, [name]: value } }));

test('no body makes a failure', async () => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...bodies), fc.oneof(body, nearly), async (url, value) => {
      const told = await rig.ask('POST', url, {
        text: JSON.stringify(value) ?? 'null',
        type: 'application/json',
      });
      expect(told.status, told.text).toBeLessThan(500);
      const { type, title, requestId } = told.json ?? {};
      const isProblem =
        String(type).startsWith('/docs/errors#') &&
        typeof title === 'string' &&
        typeof requestId === 'string';
      expect(isProblem, told.text).toBe(told.status >= 400);
    }),
    { numRuns: 600 },
  );
});

test('no text, as JSON or CSV, makes a failure', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...bodies),
      fc.constantFrom('application/json', 'text/csv', 'application/merge-patch+json'),
      fc.string({ unit: 'binary', maxLength: 200 }),
      async (url, type, text) => {
        expect((await rig.ask('POST', url, { text, type })).status).toBeLessThan(500);
      },
    ),
    { numRuns: 300 },
  );
});

test('no patch makes a failure, and none changes what is frozen', async () => {
  const before = (await rig.ask('GET', '/v1/campaigns/fuzzed')).json.definition;
  await fc.assert(
    fc.asyncProperty(
      fc.dictionary(fc.constantFrom(...Object.keys(definition), 'page', 'rules'), body),
      async (patch) => {
        const told = await rig.ask('PATCH', '/v1/campaigns/fuzzed', {
          text: JSON.stringify({ definition: patch }),
          type: 'application/json',
          headers: { 'if-match': '*' },
        });
        expect(told.status, told.text).toBeLessThan(500);
      },
    ),
    { numRuns: 200 },
  );
  const after = (await rig.ask('GET', '/v1/campaigns/fuzzed')).json.definition;
  for (const frozen of ['stock', 'prize', 'startsAt', 'survey'])
    expect(after[frozen]).toEqual(before[frozen]);
});

test('no path or query makes a failure', async () => {
  const part = fc.oneof(
    fc.webSegment(),
    fc.constantFrom('fuzzed', '..', '%2e%2e', '%00', 'fuzzed.1.1', 'a'.repeat(300)),
  );
  const path = fc.tuple(
    part,
    fc.constantFrom(
      '',
      'entries',
      'deliveries',
      'records',
      'survey-results',
      'audit-records',
      'delivery-batches/x',
    ),
    fc.webQueryParameters(),
  );
  await fc.assert(
    fc.asyncProperty(path, async ([id, rest, query]) => {
      expect((await rig.ask('GET', `/v1/campaigns/${id}/${rest}?${query}`)).status).toBeLessThan(500);
    }),
    { numRuns: 200 },
  );
});

test('after all of it the ledger verifies', async () => {
  expect(await rig.ledger.verify()).toMatchObject({ ok: true, violations: [] });
});
