// `dryRun=true`: refused as the real request would be, answered with what it would do, and nothing of the ledger is another afterwards.
// The control of each is the same request without it.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Ask, openOperatorRig, type OperatorRig, type Told } from './testing/operator-rig.ts';

let rig: OperatorRig;
beforeAll(async () => {
  rig = await openOperatorRig();
});
afterAll(() => rig.close());

/** All that a command could change: campaign, entries, deliveries, records, codes, campaigns there are. Audit records are not among it: a check may leave one. */
async function whole(id: string): Promise<unknown> {
  const told = async (path: string) => {
    const { status, text } = await rig.ask('GET', path);
    return [status, text];
  };
  const at = `/v1/campaigns/${id}`;
  return [
    await told('/v1/campaigns'),
    await told(`${at}/records`),
    await told(`${at}/entries`),
    await told(`${at}/deliveries`),
    await rig.ledger.evidence.holds(id, rig.vault.memberKey(id, 'a')),
    await rig.ledger.reconcile.contactCount(id),
  ];
}

interface Row {
  readonly name: string;
  /** Brings a campaign where the request can be made. */
  readonly prepare: (id: string) => Promise<void>;
  readonly method?: string;
  readonly path: string;
  readonly ask?: Ask;
  /** What of the answer must be the same with and without. */
  readonly same: (told: Told) => unknown;
}

/** Three units, one place on the waitlist: a, b and c won, d waits. */
async function full(id: string): Promise<void> {
  await rig.open(id, { stock: { capacity: 3, waitlistLimit: 1, closeWhenSoldOut: false } });
  await rig.enter(id, 'a', 'b', 'c', 'd');
}
const moreCodes = (id: string) =>
  rig.ask('POST', `/v1/campaigns/${id}/voucher-codes`, {
    body: [{ code: `${id}-more-1` }, { code: `${id}-more-2` }],
  });
const stateAndStock = ({ json }: Told) => [json.state, { ...json.lane, records: 0 }];

const rows: readonly Row[] = [
  { name: 'pauses', prepare: full, path: 'pauses', same: stateAndStock },
  {
    name: 'resumes',
    prepare: async (id) => {
      await full(id);
      await rig.ask('POST', `/v1/campaigns/${id}/pauses`);
    },
    method: 'DELETE',
    path: 'pauses/current',
    same: stateAndStock,
  },
  { name: 'closes', prepare: full, path: 'closures', same: stateAndStock },
  {
    name: 'raises the stock, with the promotion that follows',
    prepare: async (id) => {
      await full(id);
      await moreCodes(id);
    },
    path: 'stock-changes',
    ask: { body: { capacityBy: 2 } },
    same: stateAndStock,
  },
  {
    name: 'revokes, with the promotion that follows',
    prepare: full,
    path: 'revocations',
    ask: { body: { seq: 2 } },
    same: stateAndStock,
  },
  {
    name: 'replaces',
    prepare: async (id) => {
      await rig.open(id);
      await rig.enter(id, 'a');
    },
    path: 'replacements',
    ask: { body: { seq: 1 } },
    same: stateAndStock,
  },
  {
    name: 'erases',
    prepare: full,
    path: 'erasures',
    ask: { body: { memberId: 'a' } },
    same: ({ status }) => status,
  },
  {
    name: 'imports members',
    prepare: full,
    path: 'members',
    ask: { text: 'memberId,email\nx,x@example.com\ny,\n', type: 'text/csv' },
    same: ({ json }) => [json.rows, json.skipped, json.faults, json.warnings],
  },
  {
    name: 'imports codes',
    prepare: full,
    path: 'voucher-codes?onError=skip',
    ask: { text: 'code\nfresh-1\nfresh-1\nfresh-2\n', type: 'text/csv' },
    same: ({ json }) => [json.rows, json.skipped, json.faults, json.warnings],
  },
  {
    name: 'copies',
    prepare: full,
    path: 'copies',
    ask: { body: { definition: { startsAt: '2026-12-24T00:00:00Z' } } },
    same: ({ json }) => json.definition,
  },
];

describe('dryRun', () => {
  test.each(rows.map((row, index) => ({ ...row, id: `dry-${index}` })))(
    '$name',
    async ({ id, prepare, method = 'POST', path, ask, same }) => {
      await prepare(id);
      const url = `/v1/campaigns/${id}/${path}`;
      const dry = `${url}${path.includes('?') ? '&' : '?'}dryRun=true`;
      const before = await whole(id);
      const foreseen = await rig.ask(method, dry, ask);
      expect(foreseen.status, foreseen.text).toBe(200);
      expect(foreseen.headers['etag']).toBeUndefined();
      expect(await whole(id)).toEqual(before);

      const done = await rig.ask(method, url, ask);
      expect(done.status, done.text).toBeLessThan(300);
      expect(await whole(id)).not.toEqual(before);
      expect(same(foreseen)).toEqual(same(done));
    },
  );

  test('refuses what would be refused', async () => {
    await rig.open('refused');
    await rig.enter('refused', 'a');
    const refused: readonly [method: string, path: string, body: unknown, expected: object][] = [
      ['POST', 'pauses', undefined, {}],
      ['DELETE', 'pauses/current', undefined, { status: 409, rejection: { code: 'wrong-phase' } }],
      ['POST', 'stock-changes', { capacity: 99 }, { status: 409, reason: 'codes-missing' }],
      ['POST', 'stock-changes', { capacity: 3 }, { status: 409, rejection: { code: 'stock-unchanged' } }],
      ['POST', 'revocations', { seq: 7 }, { status: 404, reason: 'seq-unknown' }],
      ['POST', 'replacements', { seq: 7 }, { status: 404, reason: 'seq-unknown' }],
      ['POST', 'erasures', { memberId: 'nobody' }, { status: 404, reason: 'member-unknown' }],
      ['POST', 'copies', { id: 'refused' }, { status: 409, reason: 'id-taken' }],
      ['POST', 'voucher-codes', [{ code: 'refused-1' }], { status: 422, reason: 'import-faulty' }],
      ['POST', 'members', [{ email: 'x@example.com' }], { status: 422, reason: 'import-faulty' }],
    ];
    for (const [method, path, body, expected] of refused) {
      const url = `/v1/campaigns/refused/${path}?dryRun=true`;
      const told = await rig.ask(method, url, body === undefined ? {} : { body });
      expect([path, told.json], path).toMatchObject([path, expected]);
    }
  });

  test('asks for the scope of the real request', async () => {
    const token = await rig.keyWith(['campaigns:read']);
    const told = await rig.ask('POST', '/v1/campaigns/refused/closures?dryRun=true', { token });
    expect(told.status).toBe(403);
  });

  test('an unknown campaign, and a word that is no truth value', async () => {
    expect((await rig.ask('POST', '/v1/campaigns/nowhere/pauses?dryRun=true')).status).toBe(404);
    expect((await rig.ask('POST', '/v1/campaigns/refused/pauses?dryRun=perhaps')).status).toBe(400);
    expect((await rig.ask('GET', '/v1/campaigns/refused')).json.state).toBe('open');
  });
});
