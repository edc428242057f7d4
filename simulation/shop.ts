/**
 * The shop of one seed: its campaigns and its members. Drawn small, because every conflict needs few members and few units, and a
 * small run is one that a person can read.
 */
import {
  type CompiledSurvey,
  compileSurvey,
  type MemberAttributes,
  type SurveyDefinition,
} from '@doorbuster/core';
import type { CampaignDefinition } from '../packages/server/src/campaign/definition.ts';
import type { Ledger } from '../packages/server/src/ledger.ts';
import type { Vault } from '../packages/server/src/vault.ts';
import type { Seeded } from './seeded.ts';
import type { World } from './world.ts';

export interface Member {
  readonly campaignId: string;
  readonly name: string;
  readonly email: string;
  readonly memberKey: string;
  /** Null: not on the campaign's list. */
  readonly attributes: MemberAttributes | null;
  /** Whether list and rules let this member in. */
  readonly qualifies: boolean;
}
export interface ShopCampaign {
  readonly id: string;
  readonly definition: CampaignDefinition;
  /** As the HTTP layer compiles it; null without one. */
  readonly survey: CompiledSurvey | null;
  readonly members: readonly Member[];
  /** Observer's time at which it may open. */
  readonly opensAt: number;
}
export interface Shop {
  readonly campaigns: readonly ShopCampaign[];
}

export const operator = { kind: 'api-key', id: 'shop' } as const;
/** Codes beyond the capacity, for stock that is raised and units that are replaced. */
const spareCodes = 24;
const leastOrders = 2;

const survey: SurveyDefinition = {
  questions: [
    {
      id: 'colour',
      type: 'single',
      label: { en: 'Which colour?' },
      options: ['red', 'blue', 'none'].map((id) => ({ id, label: { en: id } })),
      qualifying: ['red', 'blue'],
    },
    { id: 'why', type: 'text', label: { en: 'Why?' } },
  ],
};

export function drawShop(world: World, vault: Pick<Vault, 'memberKey'>): Shop {
  const random = world.random('shop');
  const count = random.pick([1, 1, 2, 2, 3]);
  const size = Math.floor(36 / count);
  const campaigns = Array.from({ length: count }, (_, i) =>
    drawCampaign(world, vault, random, `c${i + 1}`, random.integer(size - 4, size + 6)),
  );
  return { campaigns };
}

function drawCampaign(
  world: World,
  vault: Pick<Vault, 'memberKey'>,
  random: Seeded,
  id: string,
  size: number,
): ShopCampaign {
  const opensAt = 7_000 + random.integer(0, 4_000);
  const definition = drawDefinition(world, random, size, opensAt);
  const rules = definition.eligibility?.rules?.length ?? 0;
  const listed = definition.eligibility?.audience === 'listed';
  const members = Array.from({ length: size }, (_, i): Member => {
    const name = `m${i + 1}`;
    const orders = rules > 0 ? random.integer(0, 9) : 0;
    // Of an open campaign everybody may come; the list then only brings contacts.
    const attributes = random.chance(0.06) ? null : { orders };
    const qualifies = !listed || (attributes !== null && (rules === 0 || orders >= leastOrders));
    const memberKey = vault.memberKey(id, name);
    return { campaignId: id, name, email: `${name}@${id}.example`, memberKey, attributes, qualifies };
  });
  const asked = definition.survey === undefined ? null : compileSurvey(survey);
  return { id, definition, survey: asked, members, opensAt };
}

function drawDefinition(world: World, random: Seeded, size: number, opensAt: number): CampaignDefinition {
  const at = (ms: number): string => new Date(world.clock.now() - world.now + ms).toISOString();
  const capacity = random.chance(0.8) ? random.integer(1, Math.ceil(size / 2)) : size + 6;
  const rules = random.chance(0.4) ? [{ rule: 'min-orders' as const, orders: leastOrders }] : [];
  return {
    title: { en: 'Vouchers' },
    prize: { en: 'One voucher' },
    startsAt: at(opensAt),
    ...(random.chance(0.3) && { endsAt: at(opensAt + random.integer(12_000, 60_000)) }),
    stock: {
      capacity,
      safetyStock: random.chance(0.4) ? random.integer(1, Math.min(4, capacity)) % capacity : 0,
      waitlistLimit: random.chance(0.5) ? random.integer(1, 10) : 0,
      closeWhenSoldOut: random.chance(0.25),
    },
    intake: random.chance(0.35) ? 'queued' : 'direct',
    eligibility: random.chance(0.8) ? { audience: 'listed', rules } : { audience: 'anyone' },
    ...(random.chance(0.4) && { survey: survey as NonNullable<CampaignDefinition['survey']> }),
    reward: {
      voucherSource: random.pick(['pool', 'pool', 'idempotent', 'queryable', 'queryable', 'neither']),
      messengers: random.chance(0.3) ? ['mail', 'sms'] : ['mail'],
    },
  };
}

/** What an operator does before the day: creates, imports members and codes, publishes. */
export async function prepareShop(ledger: Ledger, shop: Shop): Promise<void> {
  for (const campaign of shop.campaigns) await prepareCampaign(ledger, campaign);
}

async function prepareCampaign(ledger: Ledger, { id, definition, members }: ShopCampaign): Promise<void> {
  must(await ledger.campaigns.create(id, definition, operator));
  const list = must(await ledger.imports.begin(id, 'members', 'append', operator));
  const rows = members.flatMap(({ memberKey, email, attributes }) =>
    attributes === null ? [] : [{ memberKey, contact: { email }, attributes }],
  );
  await ledger.imports.members(list, rows);
  await ledger.imports.commit(list);
  if (definition.reward.voucherSource === 'pool')
    await importCodes(ledger, id, definition.stock.capacity + spareCodes);
  must(await ledger.campaigns.publish(id, operator));
}

async function importCodes(ledger: Ledger, id: string, count: number): Promise<void> {
  const codes = must(await ledger.imports.begin(id, 'voucher-codes', 'append', operator));
  const rows = Array.from({ length: count }, (_, i) => ({ line: i + 1, code: `P-${id}-${i + 1}` }));
  await ledger.imports.voucherCodes(codes, rows);
  await ledger.imports.commit(codes);
}

function must<T>(
  done: { readonly ok: true; readonly value: T } | { readonly ok: false; readonly code: string },
): T {
  if (!done.ok) throw new Error(`the shop could not be prepared: ${done.code}`);
  return done.value;
}
