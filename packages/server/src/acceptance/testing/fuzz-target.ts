/**
 * A server for fuzzing, as a process of its own: campaigns in several states with members in them, keys enough for no rate limit to hide the handlers, and a
 * member's session. What a fuzzer needs to know of it fits into one JSON file, so that a program in another language can use it.
 */
import { memberIdOf } from '../../cli/demo/crowd-plan.ts';
import { Crowd, range } from './crowd.ts';
import { csv, Installation, type InstallationOptions } from './installation.ts';

export interface FuzzTarget {
  readonly shop: Installation;
  readonly url: string;
  /** API keys with every scope, to be used in turns: one has 1,200 requests a minute. */
  readonly keys: readonly string[];
  /** Of a member who is in. */
  readonly session: string;
  /** A good token of the shop, of a member who is not in. */
  readonly token: string;
  readonly ids: FuzzIds;
  /** Bodies that are right, by operation id: noise alone would not get past the rules behind the schemas. */
  readonly bodies: Readonly<Record<string, readonly unknown[]>>;
}

/** Real ids for the paths, by the name of the parameter. */
export type FuzzIds = Readonly<
  Record<'campaignId' | 'keyId' | 'deliveryId' | 'batchId' | 'memberKey', readonly string[]>
>;

const keyCount = 60;

export async function startFuzzTarget(options: InstallationOptions = {}): Promise<FuzzTarget> {
  const shop = await Installation.start(options);
  try {
    return await fill(shop);
  } catch (error) {
    await shop.stop();
    throw error;
  }
}

async function fill(shop: Installation): Promise<FuzzTarget> {
  const stock = { waitlistLimit: 5 };
  const open = await shop.seed({ id: 'fuzzed', members: 40, units: 20, codes: 60, stock });
  await shop.seed({ id: 'scheduled', members: 2, units: 2, opensInMs: 3_600_000 });
  await shop.draft({ id: 'drafted', members: 0, units: 5 }, open.startsAtMs + 3_600_000);
  for (const id of ['publishable', 'publishable-2']) {
    await shop.draft(
      { id, members: 0, units: 1, definition: { eligibility: { audience: 'anyone' } } },
      open.startsAtMs + 3_600_000,
    );
    await shop.client.call('POST', `/v1/campaigns/${id}/voucher-codes`, csv(['code', `code-of-${id}`]));
  }
  await shop.opened(open);
  const crowd = new Crowd(shop, open.id);
  for (const member of range(12)) await crowd.insist(member);
  const sacrificed = await keyOf(shop, 'sacrificed');
  const keys = await Promise.all(range(keyCount).map((i) => keyOf(shop, `fuzz ${i}`)));
  const banned = await shop.client.call('POST', '/v1/campaigns/fuzzed/bans', {
    body: { memberId: 'nobody' },
  });
  const batch = await shop.client.call('POST', '/v1/campaigns/fuzzed/delivery-batches', {
    body: { filter: { state: 'delivered' }, resend: true },
  });
  const session = await sessionOf(shop, open.id, crowd.token(0));
  const token = crowd.token(30);
  await crowd.close();
  return {
    shop,
    url: shop.url,
    keys: keys.map(({ secret }) => secret),
    session,
    token,
    ids: {
      // `fuzzed` more often: only there things happen.
      campaignId: [
        'fuzzed',
        'fuzzed',
        'fuzzed',
        'publishable',
        'publishable-2',
        'scheduled',
        'drafted',
        'none',
      ],
      keyId: [sacrificed.id],
      deliveryId: ['fuzzed.1.1', 'fuzzed.1.12'],
      batchId: [String(batch.json.batchId)],
      memberKey: [String(banned.json.memberKey)],
    },
    bodies: rightBodies(token),
  };
}

const definition = {
  title: { ko: '봄 선물', en: 'Spring gift' },
  prize: { ko: '교환권', en: 'Voucher' },
  startsAt: '2099-01-01T00:00:00Z',
  endsAt: '2099-01-02T00:00:00Z',
  stock: { capacity: 10, safetyStock: 1, waitlistLimit: 3 },
  eligibility: { audience: 'listed', rules: [{ type: 'min-orders', orders: 1 }] },
  survey: {
    questions: [
      { id: 'why', type: 'text', label: { en: 'Why?' } },
      { id: 'taste', type: 'scale', label: { en: 'Taste' } },
    ],
  },
  reward: { messengers: ['email'] },
};

function rightBodies(token: string): FuzzTarget['bodies'] {
  const { eligibility: _rules, ...plain } = definition;
  const seqs = [1, 2, 3, 4, 5, 6].map((seq) => ({ seq }));
  const members = range(12).map((member) => ({ memberId: memberIdOf(member) }));
  return {
    createMemberSession: [{ token }],
    enterCampaign: [{}, { answers: {} }],
    createCampaign: [{ definition }, { id: 'made', definition: plain }, { definition: plain }],
    changeCampaign: [{ definition: { title: { en: 'Another' } } }, { definition: { survey: null } }],
    copyCampaign: [{}, { id: 'copied', startsAt: '2099-03-01T00:00:00Z' }],
    changeStock: [{ capacityBy: 1 }, { capacity: 25 }, { safetyStock: 1 }],
    retryDeliveries: [{ filter: { state: 'parked' } }, { dryRun: true }],
    replaceVoucher: seqs,
    revokeEntry: seqs,
    lookUpMember: members,
    banMember: members,
    eraseMember: members,
    createApiKey: [{ name: 'made', scopes: ['entries:read'] }],
    rotateApiKey: [{}, { graceSeconds: 60 }],
    importMembers: [[{ memberId: 'm-1', email: 'm1@shop.example', orders: 3, tags: ['vip'] }]],
    importVoucherCodes: [[{ code: 'DB-0000-0000-0000-0001', validUntil: '2099-01-01' }]],
  };
}

async function keyOf(shop: Installation, name: string): Promise<{ id: string; secret: string }> {
  const { json } = await shop.client.call('POST', '/v1/api-keys', { body: { name, scopes: ['*'] } });
  return { id: String(json.keyId), secret: String(json.token) };
}

export async function sessionOf(shop: Installation, campaignId: string, token: string): Promise<string> {
  const response = await fetch(`${shop.url}/v1/campaigns/${campaignId}/sessions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token }),
  });
  const { session } = (await response.json()) as { session?: string };
  if (session === undefined) throw new Error(`no session: ${response.status}`);
  return session;
}
