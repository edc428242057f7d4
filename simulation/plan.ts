/**
 * The plan of a seed: everything that members, operator and misfortune will do, as a list drawn before the run. A run of a part of the list is a
 * run too, and repeats itself, because every step draws from a stream of its own: that is what makes a history short enough to read.
 */
import type { SurveyAnswers } from '@doorbuster/core';
import type { OperatorLaneCommand } from '../packages/server/src/ledger.ts';
import { type PlannedFault, plannedFaults } from './fault-kinds.ts';
import type { Seeded } from './seeded.ts';
import type { Member, Shop, ShopCampaign } from './shop.ts';
import type { World } from './world.ts';

/** Until when the crowd begins something new, after the opening. ms */
export const rushMs = 44_000;
/** When the faults end. ms since the start */
export const calmAfterMs = 60_000;
export const leastCommands = 200;
export const leastFaults = 10;
export const leastFaultKinds = 6;

export type MemberAct =
  | { readonly act: 'enter'; readonly answers: SurveyAnswers | null }
  | { readonly act: 'look' | 'reveal' };
export type OperatorAct =
  | { readonly act: 'command'; readonly command: OperatorLaneCommand }
  | { readonly act: 'retry' | 'resend' }
  | { readonly act: 'ban' | 'unban' | 'erase'; readonly member: Member }
  | { readonly act: 'copy' };

/** `id`: its number in the whole plan, for naming the parts of a shortened one. */
export type Step = { readonly id: number; readonly at: number } & (
  | { readonly who: 'member'; readonly member: Member; readonly act: MemberAct }
  | { readonly who: 'operator'; readonly campaign: ShopCampaign; readonly act: OperatorAct }
  | {
      readonly who: 'fault';
      readonly kind: PlannedFault;
      readonly size: number;
      /** What the operator does, where the fault is the operator. */
      readonly strike: { readonly campaign: ShopCampaign; readonly act: OperatorAct };
    }
);
export type Plan = readonly Step[];
type Draft = Step extends infer S ? (S extends { readonly id: number } ? Omit<S, 'id'> : never) : never;

export function drawPlan(world: World, shop: Shop): Plan {
  const drafts: Draft[] = [];
  for (const campaign of shop.campaigns) {
    const random = world.random(`crowd ${campaign.id}`);
    for (const member of campaign.members) planMember(drafts, campaign, member, random);
    planOperator(drafts, campaign, world.random(`operator ${campaign.id}`));
  }
  const more = world.random('more');
  while (drafts.length < leastCommands + 4) {
    const campaign = more.pick(shop.campaigns);
    planVisit(drafts, campaign, more.pick(campaign.members), more);
  }
  planFaults(drafts, shop, world.random('faults'));
  return drafts.map((draft, id) => ({ ...draft, id }) as Step);
}

function planMember(drafts: Draft[], campaign: ShopCampaign, member: Member, random: Seeded): void {
  const visits = random.integer(1, 4);
  for (let i = 0; i < visits; i += 1) planVisit(drafts, campaign, member, random);
  const later = (): number => campaign.opensAt + random.integer(2_000, rushMs);
  if (random.chance(0.3)) drafts.push({ at: later(), who: 'member', member, act: { act: 'reveal' } });
  if (random.chance(0.25)) drafts.push({ at: later(), who: 'member', member, act: { act: 'look' } });
}

function planVisit(drafts: Draft[], { opensAt, survey }: ShopCampaign, member: Member, random: Seeded): void {
  const drawn = random.share();
  const early = Math.max(100, opensAt - random.integer(1, 6_000));
  const soon = opensAt + random.integer(0, 3_000);
  const at = drawn < 0.06 ? early : drawn < 0.5 ? soon : opensAt + random.integer(0, rushMs);
  const copies = random.chance(0.15) ? random.integer(2, 4) : 1;
  const colour = random.pick(['red', 'blue', 'red', 'blue', 'none']);
  const answers: SurveyAnswers | null =
    survey === null ? null : { colour, why: `${member.name} ${random.integer(1, 999)}` };
  for (let copy = 0; copy < copies; copy += 1)
    drafts.push({
      at: at + copy * random.integer(0, 3),
      who: 'member',
      member,
      act: { act: 'enter', answers },
    });
}

function planOperator(drafts: Draft[], campaign: ShopCampaign, random: Seeded): void {
  const busy = random.integer(0, 9);
  for (let i = 0; i < busy; i += 1) {
    const at = campaign.opensAt + random.integer(-1_000, rushMs);
    const act = drawAct(campaign, random);
    drafts.push({ at, who: 'operator', campaign, act });
    if (act.act === 'command' && act.command.type === 'pause') {
      const resume = { act: 'command', command: { type: 'resume' } } as const;
      drafts.push({ at: at + random.integer(500, 6_000), who: 'operator', campaign, act: resume });
    }
    if (act.act === 'command' && act.command.type === 'revoke' && random.chance(0.2))
      drafts.push({ at: at + random.integer(500, 9_000), who: 'operator', campaign, act: { act: 'resend' } });
  }
}

const commonActs = ['change-stock', 'change-stock', 'revoke', 'revoke', 'revoke', 'replace'] as const;
const rareActs = ['pause', 'promote', 'retry', 'resend', 'ban', 'unban', 'erase', 'copy', 'close'] as const;

function drawAct({ definition, members }: ShopCampaign, random: Seeded): OperatorAct {
  const { capacity } = definition.stock;
  const type = random.pick(random.chance(0.5) ? commonActs : rareActs);
  switch (type) {
    case 'change-stock': {
      const raised = Math.max(1, capacity + random.integer(-3, 8));
      return {
        act: 'command',
        command: { type, capacity: raised, safetyStock: random.integer(0, Math.min(2, raised)) },
      };
    }
    case 'revoke':
    case 'replace':
      return {
        act: 'command',
        command: { type, seq: random.integer(1, Math.min(members.length, capacity + 3)) },
      };
    case 'close':
      return { act: 'command', command: { type: random.chance(0.35) ? type : 'promote' } };
    case 'pause':
    case 'promote':
      return { act: 'command', command: { type } };
    case 'ban':
    case 'unban':
    case 'erase':
      return { act: type, member: random.pick(members) };
    default:
      return { act: type };
  }
}

/** Kinds that strike whenever the server lives, whatever happens. */
const certain: readonly PlannedFault[] = [
  'crash-before-commit',
  'slow-writer',
  'disk-full',
  'clock-step',
  'clock-skew',
];
const frequent: readonly PlannedFault[] = [
  ...plannedFaults.filter((kind) => kind !== 'restored-backup' && kind !== 'stuck-writer'),
  'paused-worker',
  'operator',
  'operator',
  'operator',
];

function planFaults(drafts: Draft[], shop: Shop, random: Seeded): void {
  const kinds: PlannedFault[] = [...certain];
  const more = random.integer(5, 8);
  for (let i = 0; i < more; i += 1) kinds.push(random.pick(frequent));
  if (random.chance(0.15)) kinds.push('stuck-writer');
  if (random.chance(0.12)) kinds.push('restored-backup');
  for (const kind of kinds) {
    const size = random.share();
    // Most of them in the rush just after the opening, where they hurt; a clock that is wrong as the doors open hurts most.
    const rush = kind === 'clock-step' || kind === 'clock-skew' ? [5_000, 9_000] : [6_500, 18_000];
    const [from = 0, to = 0] = random.chance(0.65) ? rush : [5_500, calmAfterMs - 4_000];
    const campaign = random.pick(shop.campaigns);
    drafts.push({
      at: random.integer(from, to),
      who: 'fault',
      kind,
      size,
      strike: { campaign, act: drawAct(campaign, random) },
    });
  }
}
