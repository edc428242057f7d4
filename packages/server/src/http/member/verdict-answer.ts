/**
 * Verdicts as HTTP: the table of the design, one row each.
 *
 *   won, waitlisted      201 with Location, receipt and opening; a repeat 200
 *   pending              202 with Location
 *   ineligible           403    not-open, paused   409    sold-out, closed   410      problem+json with `verdict`
 *
 * The refusal that a whole crowd shares is one object of admission's, so its bytes are made once and kept by identity. They carry no request
 * id for that reason; it is in the header.
 */
import type { MemberKey } from '@doorbuster/core';
import type { FastifyReply } from 'fastify';
import type { SubmissionAnswer } from '../../admission/admission.ts';
import { ineligibleText } from '../../campaign/ineligible-text.ts';
import type { CampaignDefinition } from '../../campaign/definition.ts';
import type { AdmissionAnswer } from '../../ledger.ts';
import { type ProblemSlug, problemTable, problemType } from '../problem.ts';
import { iso } from '../schemas.ts';

export interface Addressee {
  readonly campaignId: string;
  readonly memberKey: MemberKey;
  readonly definition: CampaignDefinition;
  readonly language: 'ko' | 'en';
}

const crowdBytes = new WeakMap<AdmissionAnswer, Buffer>();

export const mineUrl = (campaignId: string): string => `/v1/campaigns/${campaignId}/entries/mine`;

export function sendVerdict(reply: FastifyReply, to: Addressee, answer: SubmissionAnswer): FastifyReply {
  void reply.header('cache-control', 'no-store');
  if (answer.kind === 'pending') {
    return reply
      .code(202)
      .header('location', mineUrl(to.campaignId))
      .send({ verdict: 'pending', mine: mineUrl(to.campaignId) });
  }
  const { decision } = answer.answer;
  if (decision.verdict !== 'won' && decision.verdict !== 'waitlisted')
    return sendRefusal(reply, to, answer.answer);
  return reply
    .code(decision.repeated ? 200 : 201)
    .header('location', mineUrl(to.campaignId))
    .header('content-type', 'application/json; charset=utf-8')
    .send(entryBody(to.memberKey, answer.answer));
}

/** The body of an entry as text: the receipt is JSON already and is put in as it is. */
export function entryBody(memberKey: MemberKey, { decision, at, receipt, salt }: AdmissionAnswer): string {
  if (!('seq' in decision)) throw new Error('a refusal is no entry');
  const { verdict, seq, unit, repeated } = decision;
  const opening = salt === null ? null : { salt, memberKey };
  const head = JSON.stringify({
    verdict,
    seq,
    ...(unit === null ? {} : { unit }),
    at: iso(at),
    repeated,
    ...(opening ? { opening } : {}),
  });
  return `${head.slice(0, -1)},"receipt":${receipt ?? 'null'}}`;
}

export function sendRefusal(reply: FastifyReply, to: Addressee, answer: AdmissionAnswer): FastifyReply {
  const slug = answer.decision.verdict as ProblemSlug;
  void reply
    .code(problemTable[slug].status)
    .header('content-type', 'application/problem+json; charset=utf-8')
    .header('cache-control', 'no-store');
  const shared = answer.receipt !== null;
  let bytes = shared ? crowdBytes.get(answer) : undefined;
  if (!bytes) {
    bytes = Buffer.from(refusalBody(slug, to, answer));
    if (shared) crowdBytes.set(answer, bytes);
  }
  return reply.send(bytes);
}

function refusalBody(slug: ProblemSlug, to: Addressee, { decision, receipt, at }: AdmissionAnswer): string {
  const { status, title } = problemTable[slug];
  const body = {
    type: problemType(slug),
    title,
    status,
    code: slug,
    verdict: decision.verdict,
    ...(decision.verdict === 'not-open' ? { opensAt: iso(decision.opensAt) } : {}),
    ...(decision.verdict === 'ineligible' ? reasonOf(to, decision.reason) : {}),
    ...(decision.verdict === 'sold-out' || decision.verdict === 'closed'
      ? { at: iso(recordTime(receipt) ?? at) }
      : {}),
  };
  const text = JSON.stringify(body);
  return receipt === null ? text : `${text.slice(0, -1)},"receipt":${receipt}}`;
}

function reasonOf({ definition, language }: Addressee, reason: string): { reason: string; detail?: string } {
  const text = ineligibleText(definition, reason);
  const detail = text[language] ?? text.ko ?? text.en;
  return { reason, ...(detail ? { detail } : {}) };
}

function recordTime(receipt: string | null): number | null {
  if (receipt === null) return null;
  const { record } = JSON.parse(receipt) as { record: string };
  const { at } = JSON.parse(record) as { at?: number };
  return at ?? null;
}
