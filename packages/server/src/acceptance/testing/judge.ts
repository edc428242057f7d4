/**
 * The judge of an acceptance test. It has what a stranger has: the answers of the crowd, the exported chain and the public keys, the mails that arrived; and
 * `doorbuster verify` on the data directory, as its own process. Rules of its own, besides those of the demo's auditor:
 *
 *   a final answer stays       told sold-out or closed, never in later, unless a REOPENED record says why
 *   nobody before the opening  OPENED stands before the first entry, at or after `startsAt`
 *   nobody after the end       no entry behind CLOSED
 *   a 202 is a promise         who was told pending learns a verdict
 */
import { createHash } from 'node:crypto';
import {
  createChainVerifier,
  decodeRecord,
  type ExportedBatch,
  type LaneRecord,
  type LaneState,
  type VerifySignature,
} from '@doorbuster/core';
import { verifierOf } from '../../audit/keys.ts';
import { type AuditResult, audit, type ReceivedMail } from '../../cli/demo/audit.ts';
import type { KeptAnswer } from '../../cli/demo/crowd.ts';
import { codeOf, codePattern, type Installation, type SeededCampaign } from './installation.ts';

export interface Chain {
  readonly exported: ReadonlyMap<number, string>;
  readonly records: readonly LaneRecord[];
  readonly lane: LaneState;
  readonly verifySignature: VerifySignature;
  readonly faults: readonly string[];
}

export interface Case {
  readonly answers: readonly KeptAnswer[];
  readonly chain: Chain;
  readonly mails: readonly ReceivedMail[];
  readonly codes: ReadonlySet<string>;
  readonly startsAtMs: number;
}

export interface Judgement {
  readonly faults: readonly string[];
  readonly lane: LaneState;
  readonly records: readonly LaneRecord[];
  readonly audit: AuditResult;
}

const sha256 = (data: Uint8Array): Uint8Array => createHash('sha256').update(data).digest();

/** Exports the whole chain and verifies it from the public keys alone. */
export async function exportChain(installation: Installation, campaignId: string): Promise<Chain> {
  const keys: unknown = await (await fetch(`${installation.url}/.well-known/doorbuster-keys.json`)).json();
  const verifySignature = verifierOf(keys);
  const stream = await installation.client.stream(
    `/v1/campaigns/${campaignId}/records`,
    'application/x-ndjson',
  );
  const verifier = createChainVerifier(sha256, verifySignature);
  const exported = new Map<number, string>();
  const records: LaneRecord[] = [];
  const faults: string[] = [];
  for (const line of (await new Response(stream).text()).split('\n')) {
    if (line === '') continue;
    const batch = JSON.parse(line) as ExportedBatch;
    const checked = verifier.add(batch);
    if (!checked.ok && faults.length === 0) faults.push(`chain: ${checked.reason}: ${checked.detail}`);
    for (const text of batch.records) {
      const record = decodeRecord(text);
      records.push(record);
      exported.set(record.recordNo, text);
    }
  }
  const lane = verifier.fold.lane();
  if (!lane) throw new Error('the export holds no records');
  return { exported, records, lane, verifySignature, faults };
}

export async function gather(
  installation: Installation,
  campaign: SeededCampaign,
  answers: readonly KeptAnswer[],
): Promise<Case> {
  const chain = await exportChain(installation, campaign.id);
  const mails = installation.mails().filter((mail) => campaign.codes.has(codeOf(mail)));
  return { answers, chain, mails, codes: campaign.codes, startsAtMs: campaign.startsAtMs };
}

/** Pure: the same evidence gives the same judgement, so that a control can hand it a doctored case. */
export function judge({ answers, chain, mails, codes, startsAtMs }: Case): Judgement {
  const { records, lane } = chain;
  const audited = audit({ answers, ...chain, mails, codes, codePattern, sha256 });
  const zeros = (['oversold', 'acknowledgedLost', 'servedTwice', 'undelivered'] as const).filter(
    (name) => audited[name] !== 0,
  );
  const faults = [
    ...chain.faults,
    ...audited.faults,
    ...zeros.map((name) => `${name}: ${audited[name]}`),
    ...finalsThatChanged(answers, records),
    ...outsideOfTheHours(records, startsAtMs),
    ...promisesNotKept(answers),
  ];
  return { faults, lane, records, audit: audited };
}

function finalsThatChanged(answers: readonly KeptAnswer[], records: readonly LaneRecord[]): string[] {
  if (records.some((record) => record.type === 'REOPENED')) return [];
  const refusedAt = new Map<number, number>();
  const changed: string[] = [];
  for (const { member, status, verdict, sentAt, answeredAt } of answers) {
    if (status === 410 && !refusedAt.has(member)) refusedAt.set(member, answeredAt);
    const before = refusedAt.get(member);
    const isIn = verdict === 'won' || verdict === 'waitlisted';
    if (isIn && before !== undefined && sentAt > before)
      changed.push(`member ${member} was refused for good, then told ${verdict}`);
  }
  return changed;
}

function outsideOfTheHours(records: readonly LaneRecord[], startsAtMs: number): string[] {
  const opened = records.find((record) => record.type === 'OPENED');
  const closed = records.find((record) => record.type === 'CLOSED');
  const entries = records.filter((record) => record.type === 'ENTRY');
  const early = entries.filter(
    (entry) => !opened || entry.recordNo < opened.recordNo || entry.at < startsAtMs,
  );
  const late = entries.filter((entry) => closed && entry.recordNo > closed.recordNo);
  return [
    ...(opened && opened.at < startsAtMs ? [`opened ${startsAtMs - opened.at} ms early`] : []),
    ...early.map((entry) => `entry ${entry.seq} before the opening`),
    ...late.map((entry) => `entry ${entry.seq} after the end`),
  ];
}

function promisesNotKept(answers: readonly KeptAnswer[]): string[] {
  const told = new Map<number, boolean>();
  for (const { member, verdict, status } of answers) {
    if (verdict === 'pending') told.set(member, told.get(member) ?? false);
    else if (status === 410 || verdict === 'won' || verdict === 'waitlisted') told.set(member, true);
  }
  return [...told]
    .filter(([, learnt]) => !learnt)
    .map(([member]) => `member ${member} was told pending and nothing after`);
}

/** `doorbuster verify` on the data directory: every table against the fold of the records. */
export async function verified(installation: Installation): Promise<readonly string[]> {
  const { code, json, stderr } = await installation.command('verify');
  return code === 0 && json?.ok === true
    ? []
    : [`verify ended with ${code}: ${JSON.stringify(json)} ${stderr}`];
}
