/**
 * Verdicts as HTTP: the table of the design, one row each.
 *
 *   won, waitlisted      201 with Location, receipt and opening; a repeat 200
 *   pending              202 with Location
 *   ineligible           403    not-open, paused   409    sold-out, closed   410      problem+json with `verdict`
 *
 * The refusal that a whole crowd shares is one object of admission's, so its text is made once and kept by identity. It carries no request
 * id for that reason; it is in the header.
 */
import type { MemberKey } from '@doorbuster/core';
import type { FastifyReply } from 'fastify';
import type { SubmissionAnswer } from '../../admission/admission.ts';
import { ineligibleText } from '../../campaign/ineligible-text.ts';
import type { CampaignDefinition } from '../../campaign/definition.ts';
import type { AdmissionAnswer } from '../../ledger.ts';
import { problemContentType, type ProblemSlug, problemTable, problemType } from '../problem.ts';
import { iso } from '../schemas.ts';

export interface Addressee {
  readonly campaignId: string;
  readonly memberKey: MemberKey;
  readonly definition: CampaignDefinition;
  readonly language: 'ko' | 'en';
}

/** A verdict as it leaves: what any way of answering has to write. */
export interface VerdictAnswer {
  readonly status: number;
  /** Besides what every answer carries. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: string;
}

const json = 'application/json; charset=utf-8';
const notStored = ['cache-control', 'no-store'] as const;
const crowdAnswers = new WeakMap<AdmissionAnswer, VerdictAnswer>();

export const mineUrl = (campaignId: string): string => `/v1/campaigns/${campaignId}/entries/mine`;

export function sendVerdict(reply: FastifyReply, to: Addressee, answer: SubmissionAnswer): FastifyReply {
  const { status, headers, body } = verdictAnswer(to, answer);
  for (const [name, value] of headers) void reply.header(name, value);
  return reply.code(status).send(body);
}

export function verdictAnswer(to: Addressee, answer: SubmissionAnswer): VerdictAnswer {
  const mine = mineUrl(to.campaignId);
  if (answer.kind === 'pending') {
    const body = JSON.stringify({ verdict: 'pending', mine });
    return { status: 202, headers: [notStored, ['location', mine], ['content-type', json]], body };
  }
  const { decision } = answer.answer;
  if (decision.verdict !== 'won' && decision.verdict !== 'waitlisted')
    return refusalAnswer(to, answer.answer);
  return {
    status: decision.repeated ? 200 : 201,
    headers: [notStored, ['location', mine], ['content-type', json]],
    body: entryBody(to.memberKey, answer.answer),
  };
}

/** The body of an entry as text: the receipt is JSON already and is put in as it is, and nothing else needs to be escaped. */
export function entryBody(memberKey: MemberKey, { decision, at, receipt, salt }: AdmissionAnswer): string {
  if (!('seq' in decision)) throw new Error('a refusal is no entry');
  const { verdict, seq, unit, repeated } = decision;
  const given = unit === null ? '' : `,"unit":${unit}`;
  const opening = salt === null ? '' : `,"opening":{"salt":"${salt}","memberKey":"${memberKey}"}`;
  return `{"verdict":"${verdict}","seq":${seq}${given},"at":"${lately(at)}","repeated":${repeated}${opening},"receipt":${receipt ?? 'null'}}`;
}

let lastAt = 0;
let lastText = iso(0);

/** ISO text; entries of one batch share their time, so the last one is kept. */
function lately(at: number): string {
  if (at !== lastAt) {
    lastText = iso(at);
    lastAt = at;
  }
  return lastText;
}

/**
 * Text and not a Buffer: head and body leave in one plain write. The answer that a whole crowd shares is made once and kept by the identity of
 * admission's object.
 */
export function refusalAnswer(to: Addressee, answer: AdmissionAnswer): VerdictAnswer {
  const shared = answer.receipt !== null;
  const known = shared ? crowdAnswers.get(answer) : undefined;
  if (known) return known;
  const slug = answer.decision.verdict as ProblemSlug;
  const made = {
    status: problemTable[slug].status,
    headers: [notStored, ['content-type', problemContentType] as const],
    body: refusalBody(slug, to, answer),
  };
  if (shared) crowdAnswers.set(answer, made);
  return made;
}

export function sendRefusal(reply: FastifyReply, to: Addressee, answer: AdmissionAnswer): FastifyReply {
  return sendVerdict(reply, to, { kind: 'decided', answer });
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
