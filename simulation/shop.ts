/**
 * The shop of one seed: its campaigns and its members. Drawn small, because every conflict needs few members and few units, and a
 * small run is one that a person can read.
 */
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
}
export interface ShopCampaign {
  readonly id: string;
  readonly definition: CampaignDefinition;
  readonly members: readonly Member[];
  /** Observer's time at which it may open. */
  readonly opensAt: number;
}
export interface Shop {
  readonly campaigns: readonly ShopCampaign[];
}

const operator = { kind: 'api-key', id: 'shop' } as const;
/** Codes beyond the capacity, for stock that is raised and units that are replaced. */
const spareCodes = 40;

export function drawShop(world: World, vault: Pick<Vault, 'memberKey'>): Shop {
  const random = world.random('shop');
  const count = random.chance(0.5) ? 1 : 2;
  const campaigns = Array.from({ length: count }, (_, i) => drawCampaign(world, vault, random, `c${i + 1}`));
  return { campaigns };
}

function drawCampaign(
  world: World,
  vault: Pick<Vault, 'memberKey'>,
  random: Seeded,
  id: string,
): ShopCampaign {
  const opensAt = 10_000 + random.integer(0, 5_000);
  const at = (ms: number): string => new Date(world.clock.now() - world.now + ms).toISOString();
  const scarce = random.chance(0.75);
  const size = random.integer(20, 50);
  const capacity = scarce ? random.integer(1, Math.ceil(size / 2)) : size + 10;
  const definition: CampaignDefinition = {
    title: { en: 'Vouchers' },
    prize: { en: 'One voucher' },
    startsAt: at(opensAt),
    ...(random.chance(0.3) && { endsAt: at(opensAt + random.integer(20_000, 90_000)) }),
    stock: {
      capacity,
      safetyStock: random.chance(0.4) ? random.integer(0, Math.min(3, capacity - 1)) : 0,
      waitlistLimit: random.chance(0.5) ? random.integer(1, 12) : 0,
      closeWhenSoldOut: random.chance(0.3),
    },
    intake: random.chance(0.3) ? 'queued' : 'direct',
    eligibility: { audience: 'listed' },
    reward: {
      voucherSource: random.pick(['pool', 'idempotent', 'queryable', 'queryable']),
      messengers: ['mail'],
    },
  };
  const members = Array.from({ length: size }, (_, i): Member => {
    const name = `m${i + 1}`;
    return { campaignId: id, name, email: `${name}@${id}.example`, memberKey: vault.memberKey(id, name) };
  });
  return { id, definition, members, opensAt };
}

/** What an operator does before the day: creates, imports members and codes, publishes. */
export async function prepareShop(ledger: Ledger, shop: Shop): Promise<void> {
  for (const { id, definition, members } of shop.campaigns) {
    must(await ledger.campaigns.create(id, definition, operator));
    const list = must(await ledger.imports.begin(id, 'members', 'append', operator));
    const rows = members.map(({ memberKey, email }) => ({ memberKey, contact: { email }, attributes: {} }));
    await ledger.imports.members(list, rows);
    await ledger.imports.commit(list);
    if (definition.reward.voucherSource === 'pool')
      await importCodes(ledger, id, definition.stock.capacity + spareCodes);
    must(await ledger.campaigns.publish(id, operator));
  }
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
