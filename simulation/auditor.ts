/**
 * The auditor: judges a run from outside. It has what members, messengers, providers and the observer's clock know (answers, receipts, vouchers
 * that arrived, the provider's statement), and the file as evidence; it asks nothing of the running code.
 *
 * The rules of its own are those that the common invariants cannot know: what a member was told twice, when it was told, how often a
 * message went out, how many vouchers the shop pays for.
 */
import type { DeliveredMessage, EpochMs, ObservedAnswer, Receipt } from '@doorbuster/core';
import type { OperatorLaneCommand } from '../packages/server/src/ledger.ts';
import type { ProviderBooks } from './providers.ts';
import type { Member, Shop, ShopCampaign } from './shop.ts';

export interface Finding {
  readonly rule: string;
  readonly detail: string;
}

/** What was seen. Filled while the run goes on, read at its end. */
export class Book {
  readonly answers: ObservedAnswer[] = [];
  readonly receipts = new Map<string, Receipt>();
  readonly revealed: DeliveredMessage[] = [];
  readonly pendings = new Map<string, EpochMs>();
  readonly commands: { readonly campaignId: string; readonly command: OperatorLaneCommand }[] = [];
  readonly banned = new Set<string>();
  readonly resends = new Map<string, number>();
  readonly bugs: string[] = [];

  answer(answer: ObservedAnswer): void {
    this.answers.push(answer);
  }
  receipt(receipt: Receipt): void {
    this.receipts.set(`${receipt.campaign} ${receipt.record} ${receipt.signature}`, receipt);
  }
  shown(message: DeliveredMessage): void {
    this.revealed.push(message);
  }
  /** Queued intake took the entry. */
  pending({ campaignId, memberKey }: Member, at: EpochMs): void {
    const key = `${campaignId} ${memberKey}`;
    if (!this.pendings.has(key)) this.pendings.set(key, at);
  }
  command(campaignId: string, command: OperatorLaneCommand): void {
    this.commands.push({ campaignId, command });
  }
  resend(campaignId: string): void {
    this.resends.set(campaignId, (this.resends.get(campaignId) ?? 0) + 1);
  }
  /** Something other than an answer or a catalogued error came out. */
  bug(error: unknown): void {
    this.bugs.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
}

/** `shut`: campaigns that were ever sold out or closed, by the published records. */
export function auditFromOutside(
  shop: Shop,
  book: Book,
  provider: ProviderBooks,
  shut: ReadonlySet<string>,
): Finding[] {
  return [
    ...book.bugs.map((detail) => ({ rule: 'no-bug', detail })),
    ...oneAnswerPerMember(book),
    ...oneVoucherPerUnit(provider),
    ...fewSendings(book, provider),
    ...shop.campaigns.flatMap((campaign) => [
      ...openedLate(campaign, book),
      ...withinOffer(campaign, book),
      ...(shut.has(campaign.id) ? [] : pendingIsKept(campaign, book)),
    ]),
  ];
}

/** The messages as the invariants want them: by member key. */
export function messagesOf(shop: Shop, book: Book, provider: ProviderBooks): DeliveredMessage[] {
  const keys = new Map(shop.campaigns.flatMap(({ members }) => members.map((m) => [m.email, m.memberKey])));
  const arrived = provider.messages.map(
    ({ campaignId, email, code, at }): DeliveredMessage => ({
      campaign: campaignId,
      memberKey: keys.get(email) ?? email,
      voucher: code,
      shownAt: at,
    }),
  );
  return [...arrived, ...book.revealed];
}

const isEntry = ({ verdict }: ObservedAnswer): boolean => verdict === 'won' || verdict === 'waitlisted';

/** The first verdict of a member is the verdict for ever. */
function oneAnswerPerMember({ answers }: Book): Finding[] {
  const found: Finding[] = [];
  const first = new Map<string, { readonly told: string; readonly endedAt: number }>();
  for (const answer of answers) {
    const key = `${answer.campaign} ${answer.memberKey}`;
    const told = `${answer.verdict} ${answer.seq} ${answer.unit} ${answer.recordNo}`;
    const before = first.get(key);
    if (isEntry(answer)) {
      if (before === undefined) first.set(key, { told, endedAt: answer.endedAt });
      else if (before.told !== told)
        found.push({ rule: 'one-answer', detail: `${key}: first ${before.told}, then ${told}` });
    } else if (before !== undefined && answer.startedAt > before.endedAt)
      found.push({ rule: 'one-answer', detail: `${key}: first ${before.told}, then ${answer.verdict}` });
  }
  return found;
}

/** The shop pays for each voucher issued: one a unit, whatever was unknown in between. */
function oneVoucherPerUnit({ issued }: ProviderBooks): Finding[] {
  const byUnit = new Map<string, string[]>();
  for (const { campaignId, unit, code } of issued) {
    const key = `${campaignId}#${unit}`;
    byUnit.set(key, [...(byUnit.get(key) ?? []), code]);
  }
  return [...byUnit]
    .filter(([, codes]) => codes.length > 1)
    .map(([unit, codes]) => ({ rule: 'one-voucher-per-unit', detail: `${unit}: ${codes.join(', ')}` }));
}

/** After an unknown sending at most one more follows; an operator's retry allows two more. */
function fewSendings({ resends }: Book, { messages }: ProviderBooks): Finding[] {
  const counts = new Map<string, { count: number; campaignId: string }>();
  for (const { deliveryId, campaignId } of messages) {
    const seen = counts.get(deliveryId) ?? { count: 0, campaignId };
    seen.count += 1;
    counts.set(deliveryId, seen);
  }
  return [...counts]
    .filter(([, { count, campaignId }]) => count > 2 + 2 * (resends.get(campaignId) ?? 0))
    .map(([deliveryId, { count }]) => ({
      rule: 'few-sendings',
      detail: `${deliveryId} went out ${count} times`,
    }));
}

function openedLate({ id, opensAt }: ShopCampaign, { answers }: Book): Finding[] {
  return answers
    .filter((answer) => answer.campaign === id && isEntry(answer) && answer.endedAt < opensAt)
    .map((answer) => ({
      rule: 'opens-late-rather-than-early',
      detail: `${id}: ${answer.memberKey} was told ${answer.verdict} at ${answer.endedAt}, it opens at ${opensAt}`,
    }));
}

/** Without an operator's command nobody but the public's units can be won. */
function withinOffer({ id, definition }: ShopCampaign, { answers, commands }: Book): Finding[] {
  if (commands.some(({ campaignId }) => campaignId === id)) return [];
  const offered = definition.stock.capacity - (definition.stock.safetyStock ?? 0);
  const winners = new Set(
    answers.filter((a) => a.campaign === id && a.verdict === 'won').map((a) => a.memberKey),
  );
  if (winners.size <= offered) return [];
  return [
    {
      rule: 'within-the-offer',
      detail: `${id}: ${winners.size} were told won, ${offered} units are offered`,
    },
  ];
}

/** Where there was room all the time, whoever was told `pending` has an entry in the end. */
function pendingIsKept({ id, members }: ShopCampaign, book: Book): Finding[] {
  const inside = new Set(book.answers.filter((a) => a.campaign === id && isEntry(a)).map((a) => a.memberKey));
  return members
    .filter(({ memberKey }) => {
      const key = `${id} ${memberKey}`;
      return book.pendings.has(key) && !book.banned.has(key) && !inside.has(memberKey);
    })
    .map(({ name }) => ({
      rule: 'pending-is-kept',
      detail: `${id}: ${name} was told pending and has no entry`,
    }));
}
