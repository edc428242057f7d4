/**
 * The auditor: judges a run from outside. It has what members, messengers, providers and the observer's clock know (answers, receipts, vouchers
 * that arrived, the provider's statement), and the file as evidence; it asks nothing of the running code.
 *
 * Beside the common invariants it applies the rules that they cannot know: what a member was told twice and when, who may enter, how often a
 * message went out, how many vouchers the shop pays for, what an erased member left behind, and the oracle's opinion of every record.
 */
import { sign } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import {
  checkInvariants,
  type DeliveredMessage,
  type EntrySnapshot,
  type LaneRecord,
  type VerifySignature,
} from '@doorbuster/core';
import { sha256 } from '../packages/server/src/audit/signer.ts';
import { verifyLedger } from '../packages/server/src/ledgers/sqlite/verify.ts';
import type { SigningKey } from '../packages/server/src/secrets.ts';
import { type Book, placeOf, type Told } from './book.ts';
import { type LedgerEvidence, personalRows, readEvidence } from './ledger-snapshot.ts';
import type { Machine } from './machine.ts';
import { Oracle } from './oracle.ts';
import type { Member, Shop, ShopCampaign } from './shop.ts';

/** From the record that a message goes out to the call that sends it. */
const onItsWayMs = 200;

export interface Finding {
  readonly rule: string;
  readonly detail: string;
}

export interface Case {
  readonly machine: Machine;
  readonly shop: Shop;
  readonly book: Book;
  /** Campaigns whose ledger was put back once, with the last record of the backup. */
  readonly restored: ReadonlyMap<string, number>;
  /** Since when nothing broke; null in the middle of a run, where nothing has to be settled. */
  readonly calmSince: number | null;
  /** True once a retention took what messages could be held against. */
  readonly chainOnly?: boolean;
}

export function audit(of: Case, db: DatabaseSync): Finding[] {
  try {
    return judged(of, db);
  } catch (error) {
    return [
      { rule: 'unreadable', detail: error instanceof Error ? (error.stack ?? error.message) : String(error) },
    ];
  }
}

function judged(of: Case, db: DatabaseSync): Finding[] {
  const { machine, shop, book } = of;
  const read = readEvidence(db, machine.vault);
  const entries = withKnownKeys(read, of);
  const evidence = { ...read, entries, vouchers: withKnownVouchers(read, of) };
  const shut = shutCampaigns(evidence);
  if (of.chainOnly === true) return [...common(of, evidence, db), ...secondOpinion(of, evidence)];
  return [
    ...common(of, evidence, db),
    ...book.bugs.map((detail) => ({ rule: 'no-bug', detail })),
    ...oneAnswerPerMember(book, shut),
    ...oneVoucherPerUnit(of),
    ...fewSendings(of),
    ...forgotten(of, db),
    ...nothingToTheRevoked(of, evidence),
    ...secondOpinion(of, evidence),
    ...shop.campaigns.flatMap((campaign) => [
      ...openedLate(campaign, book),
      ...rightlyIn(campaign, book, evidence),
      ...rightlyOut(campaign, book),
      ...(of.calmSince === null || shut.has(campaign.id) || of.restored.has(campaign.id)
        ? []
        : pendingIsKept(campaign, book)),
    ]),
  ];
}

/** I1-I9 on everything that was seen, and the product's own `verify`. */
function common(of: Case, evidence: LedgerEvidence, db: DatabaseSync): Finding[] {
  const { machine, book, calmSince } = of;
  const messages = of.chainOnly === true ? [] : messagesOf(of, evidence);
  const unsigned = evidence.batches.some(({ signature }) => signature === '');
  const verifySignature = verifierOf(machine.signingKeys[0] as SigningKey, unsigned);
  const violations = checkInvariants(
    evidence,
    {
      answers: book.answers.filter((answer) => !isForgotten(of, evidence, answer.campaign, answer.memberKey)),
      receipts: [...book.receipts.values()],
      messages,
      commits: machine.commits.commits,
      ...(calmSince !== null && { calm: { since: calmSince, observedAt: machine.world.now } }),
    },
    { sha256, verifySignature },
  );
  // Opening every answer again costs a tenth of a run; some runs do it.
  const opens = machine.world.random('verify opens').chance(0.2);
  const verified = verifyLedger(db, { verifySignature, ...(opens && { vault: machine.vault }) });
  return [
    ...violations.map(({ invariant, detail }) => ({ rule: invariant, detail })),
    ...verified.violations.map(({ invariant, detail }) => ({ rule: `verify ${invariant}`, detail })),
  ];
}

/** Ed25519 is deterministic: what its key signs again to the same bytes is its signature. Each is looked at once, however many receipts carry it. */
export function verifierOf({ privateKey, kid: own }: SigningKey, lastIsUnsigned: boolean): VerifySignature {
  const known = new Map<string, string>();
  return (kid, message, signature) => {
    if (signature === '') return lastIsUnsigned;
    if (kid !== own) return false;
    const key = Buffer.from(message.buffer, message.byteOffset, message.byteLength).toString('latin1');
    let right = known.get(key);
    if (right === undefined) {
      right = sign(null, message, privateKey).toString('base64url');
      known.set(key, right);
    }
    return right === signature;
  };
}

// --- erased members ----------------------------------------------------------------------------------------------------------------

/** After the close an erased member's key is replaced; whoever got the answer still knows whose entry it was. */
function withKnownKeys(evidence: LedgerEvidence, { book }: Case): readonly EntrySnapshot[] {
  if (evidence.erased.size === 0) return evidence.entries;
  const known = new Map(
    book.answers
      .filter(
        ({ campaign, memberKey, seq }) => seq !== null && book.mayBeErased.has(placeOf(campaign, memberKey)),
      )
      .map(({ campaign, seq, memberKey }) => [`${campaign} ${seq}`, memberKey]),
  );
  return evidence.entries.map((entry) => {
    const place = `${entry.campaign} ${entry.seq}`;
    const memberKey = evidence.erased.get(place) === 2 ? known.get(place) : undefined;
    return memberKey === undefined ? entry : { ...entry, memberKey };
  });
}

/** An erased member's voucher is gone from the file; which unit it was, its provider and the shop's own list still know. */
function withKnownVouchers(evidence: LedgerEvidence, of: Case): LedgerEvidence['vouchers'] {
  if (evidence.erased.size === 0) return evidence.vouchers;
  const unitOf = unitsByCode(of);
  const have = new Set(evidence.vouchers.map(({ campaign, unit }) => `${campaign} ${unit}`));
  const erased = new Set(
    evidence.units
      .filter(({ campaign, seq }) => evidence.erased.has(`${campaign} ${seq}`))
      .map(({ campaign, unit }) => `${campaign} ${unit}`),
  );
  const codes = of.machine.books.messages.map(({ campaignId, code }) => [campaignId, code] as const);
  for (const { campaign, voucher } of of.book.revealed) codes.push([campaign, voucher]);
  const more = new Map<string, LedgerEvidence['vouchers'][number]>();
  for (const [campaign, voucher] of codes) {
    const place = unitOf(campaign, voucher);
    // After a restore a resend may have asked for the voucher of the lost history.
    if (place !== undefined && erased.has(place) && (!have.has(place) || of.restored.has(campaign)))
      more.set(`${place} ${voucher}`, { campaign, unit: Number(place.split(' ')[1]), voucher });
  }
  return [...evidence.vouchers, ...more.values()];
}

/** `<campaign> <unit>` of a code, by the providers' statement or the name of a pool code. */
function unitsByCode({ machine }: Case): (campaign: string, code: string) => string | undefined {
  const issued = new Map(
    machine.books.issued.map(({ code, campaignId, unit }) => [code, `${campaignId} ${unit}`]),
  );
  return (campaign, code) => {
    const pool = /^P-(.+)-(\d+)$/.exec(code);
    return pool === null ? issued.get(code) : `${campaign} ${pool[2]}`;
  };
}

/** Nobody can say any more which entry was this member's. */
function isForgotten({ book }: Case, evidence: LedgerEvidence, campaign: string, memberKey: string): boolean {
  if (!book.mayBeErased.has(placeOf(campaign, memberKey))) return false;
  return !evidence.entries.some((entry) => entry.campaign === campaign && entry.memberKey === memberKey);
}

/** What an operator confirmed as erased is not in the file. */
function forgotten({ book }: Case, db: DatabaseSync): Finding[] {
  return [...book.erasedAt].flatMap(([place, at]) => {
    const [campaignId = '', memberKey = ''] = place.split(' ');
    const hadEntry = book.answers.some(
      (told) =>
        told.campaign === campaignId && told.memberKey === memberKey && isEntry(told) && told.endedAt < at,
    );
    return personalRows(db, campaignId, memberKey)
      .filter((where) => where !== 'entries' || hadEntry)
      .map((where) => ({ rule: 'erased-is-gone', detail: `${place}: erased at ${at}, still in ${where}` }));
  });
}

// --- what was shown ----------------------------------------------------------------------------------------------------------------

/** The messages as the invariants want them: by member key. */
function messagesOf(of: Case, evidence: LedgerEvidence): DeliveredMessage[] {
  const { shop, book, machine } = of;
  const keys = new Map(shop.campaigns.flatMap(({ members }) => members.map((m) => [m.email, m.memberKey])));
  const arrived = machine.books.messages.map(
    ({ campaignId, email, code, at }): DeliveredMessage => ({
      campaign: campaignId,
      memberKey: keys.get(email) ?? email,
      voucher: code,
      shownAt: at,
    }),
  );
  return [...arrived, ...book.revealed].filter(
    ({ campaign, memberKey }) => !isForgotten(of, evidence, campaign, memberKey),
  );
}

/** When each unit's voucher was first seen, by `<campaign> <unit>`. */
function firstShown(of: Case): Map<string, number> {
  const unitOf = unitsByCode(of);
  const shown = new Map<string, number>();
  const see = (campaign: string, code: string, at: number): void => {
    const place = unitOf(campaign, code);
    if (place !== undefined) shown.set(place, Math.min(at, shown.get(place) ?? Number.POSITIVE_INFINITY));
  };
  for (const { campaignId, code, at } of of.machine.books.messages) see(campaignId, code, at);
  for (const { campaign, voucher, shownAt } of of.book.revealed) see(campaign, voucher, shownAt);
  return shown;
}

/** A message that is on its way as its grant is taken back may arrive; none may set out later. A worker that stood still then may carry on where it was. */
function nothingToTheRevoked({ machine, restored }: Case, evidence: LedgerEvidence): Finding[] {
  const takenBack = new Map<string, number>();
  const committed = new Map(
    machine.commits.commits.map((one) => [`${one.campaign} ${one.firstRecordNo}`, one.committedAt]),
  );
  for (const { head, records } of evidence.batches) {
    const at = committed.get(`${head.campaign} ${head.firstRecordNo}`);
    if (at === undefined || restored.has(head.campaign)) continue;
    for (const text of records) {
      const record = JSON.parse(text) as LaneRecord;
      if ((record.type === 'REVOKED' || record.type === 'REPLACED') && record.unit !== null)
        takenBack.set(`${head.campaign}.${record.seq}.${record.unit}`, at);
    }
  }
  return machine.books.messages.flatMap(({ deliveryId, askedAt }) => {
    const at = takenBack.get(deliveryId);
    if (at === undefined || askedAt <= at + onItsWayMs) return [];
    if (machine.standstills.some(({ from, to }) => from <= at && at <= to)) return [];
    return [
      {
        rule: 'nothing-to-the-revoked',
        detail: `${deliveryId} was taken back at ${at} and sent at ${askedAt}`,
      },
    ];
  });
}

function secondOpinion(of: Case, evidence: LedgerEvidence): Finding[] {
  const shown = firstShown(of);
  return evidence.lanes.flatMap(({ campaign }) => {
    const times = new Map<number, number>();
    for (const commit of of.machine.commits.commits) {
      if (commit.campaign !== campaign) continue;
      for (let i = 0; i < commit.count; i += 1) times.set(commit.firstRecordNo + i, commit.committedAt);
    }
    const oracle = new Oracle({
      committedAt: (recordNo) => times.get(recordNo),
      shownAt: (unit) => shown.get(`${campaign} ${unit}`),
    });
    for (const { head, records } of evidence.batches)
      if (head.campaign === campaign) oracle.batch(records.map((text) => JSON.parse(text) as LaneRecord));
    for (const unit of evidence.units)
      if (unit.campaign === campaign && unit.state === 'issued' && oracle.holders.get(unit.unit) !== unit.seq)
        oracle.findings.push(
          `unit ${unit.unit} is with entry ${unit.seq}, by the records with ${oracle.holders.get(unit.unit)}`,
        );
    return oracle.findings.map((detail) => ({ rule: 'oracle', detail: `${campaign}: ${detail}` }));
  });
}

function shutCampaigns(evidence: LedgerEvidence): ReadonlySet<string> {
  const shut = new Set<string>();
  for (const { head, records } of evidence.batches)
    if (records.some((text) => text.includes('"SOLD_OUT"') || text.includes('"CLOSED"')))
      shut.add(head.campaign);
  for (const { campaign, phase } of evidence.lanes) if (phase !== 'open') shut.add(campaign);
  return shut;
}

// --- answers -----------------------------------------------------------------------------------------------------------------------

const isEntry = ({ verdict }: Told): boolean => verdict === 'won' || verdict === 'waitlisted';

/** The first verdict of a member is the verdict for ever; of one who was erased nobody knows it any more after the close. */
function oneAnswerPerMember({ answers, mayBeErased }: Book, shut: ReadonlySet<string>): Finding[] {
  const found: Finding[] = [];
  const first = new Map<string, { readonly told: string; readonly endedAt: number }>();
  for (const answer of answers) {
    const key = placeOf(answer.campaign, answer.memberKey);
    const told = `${answer.verdict} ${answer.seq} ${answer.unit} ${answer.recordNo}`;
    const before = first.get(key);
    if (isEntry(answer)) {
      if (before === undefined) first.set(key, { told, endedAt: answer.endedAt });
      else if (before.told !== told)
        found.push({ rule: 'one-answer', detail: `${key}: first ${before.told}, then ${told}` });
    } else if (
      before !== undefined &&
      answer.startedAt > before.endedAt &&
      !(mayBeErased.has(key) && shut.has(answer.campaign))
    )
      found.push({ rule: 'one-answer', detail: `${key}: first ${before.told}, then ${answer.verdict}` });
  }
  return found;
}

function openedLate({ id, opensAt }: ShopCampaign, { answers }: Book): Finding[] {
  return answers
    .filter((answer) => answer.campaign === id && isEntry(answer) && answer.endedAt < opensAt)
    .map((answer) => ({
      rule: 'opens-late-rather-than-early',
      detail: `${id}: ${answer.memberKey} was told ${answer.verdict} at ${answer.endedAt}, it opens at ${opensAt}`,
    }));
}

/** Whether some submission of this member could have been let in by list, rules, screening and bans. */
function mayEnter({ survey }: ShopCampaign, member: Member, book: Book): boolean {
  const place = placeOf(member.campaignId, member.memberKey);
  const submitted = book.submitted.get(place) ?? [];
  const banned = book.everUnbanned.has(place)
    ? Number.POSITIVE_INFINITY
    : (book.bannedAt.get(place) ?? Number.POSITIVE_INFINITY);
  return (
    member.qualifies &&
    submitted.some(({ answers, at }) => at <= banned && !(survey !== null && answers?.['colour'] === 'none'))
  );
}

function rightlyIn(campaign: ShopCampaign, book: Book, evidence: LedgerEvidence): Finding[] {
  const inside = new Set(
    evidence.entries.filter((entry) => entry.campaign === campaign.id).map(({ memberKey }) => memberKey),
  );
  return campaign.members
    .filter((member) => inside.has(member.memberKey) && !mayEnter(campaign, member, book))
    .map(({ name }) => ({
      rule: 'only-the-eligible',
      detail: `${campaign.id}: ${name} is in and may not be`,
    }));
}

function rightlyOut({ id, survey, members }: ShopCampaign, book: Book): Finding[] {
  const byKey = new Map(members.map((member) => [member.memberKey, member]));
  return book.answers.flatMap(({ campaign, memberKey, verdict, reason }) => {
    if (campaign !== id || verdict !== 'ineligible') return [];
    const place = placeOf(id, memberKey);
    const member = byKey.get(memberKey);
    const screened = (book.submitted.get(place) ?? []).some(({ answers }) => answers?.['colour'] === 'none');
    const why =
      reason === 'banned'
        ? book.everBanned.has(place)
        : reason === 'screening'
          ? survey !== null && screened
          : !member?.qualifies || book.mayBeErased.has(place);
    return why ? [] : [{ rule: 'ineligible-for-a-reason', detail: `${place}: ${reason}` }];
  });
}

/** Where there was room all the time, whoever was told `pending` has an entry in the end. */
function pendingIsKept({ id, members, survey }: ShopCampaign, book: Book): Finding[] {
  const inside = new Set(book.answers.filter((a) => a.campaign === id && isEntry(a)).map((a) => a.memberKey));
  return members
    .filter(({ memberKey, qualifies }) => {
      const place = placeOf(id, memberKey);
      const screened = (book.submitted.get(place) ?? []).some(
        ({ answers }) => answers?.['colour'] === 'none',
      );
      if (!qualifies || (survey !== null && screened) || book.mayBeErased.has(place)) return false;
      return book.pendings.has(place) && !book.everBanned.has(place) && !inside.has(memberKey);
    })
    .map(({ name }) => ({
      rule: 'pending-is-kept',
      detail: `${id}: ${name} was told pending and has no entry`,
    }));
}

// --- providers ---------------------------------------------------------------------------------------------------------------------

/** The shop pays for each voucher issued: one a unit, whatever was unknown in between. A ledger that was put back forgot what it had asked for. */
function oneVoucherPerUnit({ machine, restored }: Case): Finding[] {
  const byUnit = new Map<string, string[]>();
  for (const { campaignId, unit, code } of machine.books.issued) {
    if (restored.has(campaignId)) continue;
    const key = `${campaignId}#${unit}`;
    byUnit.set(key, [...(byUnit.get(key) ?? []), code]);
  }
  return [...byUnit]
    .filter(([, codes]) => codes.length > 1)
    .map(([unit, codes]) => ({ rule: 'one-voucher-per-unit', detail: `${unit}: ${codes.join(', ')}` }));
}

/** After an unknown sending at most one more follows; an operator's retry allows two more. */
function fewSendings({ machine, book }: Case): Finding[] {
  const counts = new Map<string, { count: number; campaignId: string }>();
  for (const { deliveryId, campaignId } of machine.books.messages) {
    const seen = counts.get(deliveryId) ?? { count: 0, campaignId };
    seen.count += 1;
    counts.set(deliveryId, seen);
  }
  return [...counts]
    .filter(([, { count, campaignId }]) => count > 2 + 2 * (book.resends.get(campaignId) ?? 0))
    .map(([deliveryId, { count }]) => ({
      rule: 'few-sendings',
      detail: `${deliveryId} went out ${count} times`,
    }));
}
