/**
 * What a cycle is judged by, from the outside alone: what the crowd was told, what the proxy kept from it, the mails that arrived, the exported chain, and what
 * `doorbuster verify` says of the data directory. Pure: everything is passed in.
 */
import type { KeptAnswer } from '../packages/server/src/cli/demo/crowd.ts';
import { codeOf } from '../packages/server/src/acceptance/testing/installation.ts';
import { type Case, judge } from '../packages/server/src/acceptance/testing/judge.ts';
import type { Withheld } from './answer-cutter.ts';
import type { Crowding } from './plan.ts';

export interface Evidence {
  readonly name: string;
  readonly crowding: Crowding;
  readonly gathered: Case;
  readonly statuses: Readonly<Record<string, number>>;
  readonly crowdFaults: readonly string[];
  readonly withheld: readonly Withheld[];
  /** By member: when the first request left, ms since the epoch. */
  readonly firstSentAt: readonly number[];
  /** Faults found by `doorbuster verify`. */
  readonly verifyFaults: readonly string[];
  /** Further faults seen while the cycle ran. */
  readonly seen: readonly string[];
  /** An operator sent again what was parked: a third sending of a code is then no fault. */
  readonly sentAgain: boolean;
}

export interface Verdict {
  readonly acknowledged: number;
  readonly oversold: number;
  readonly acknowledgedLost: number;
  readonly servedTwice: number;
  readonly undelivered: number;
  readonly fiveHundreds: number;
  /** Mails beyond the first of their code. */
  readonly mailsRepeated: number;
  readonly faults: readonly string[];
}

/** One sending more after an unknown result, never a third. */
const mostSendings = 2;

export function auditCycle(evidence: Evidence): Verdict {
  const { gathered, statuses, crowdFaults } = evidence;
  const { audit, faults, lane } = judge(gathered);
  const sendings = sendingsByCode(gathered);
  const fiveHundreds =
    sum(Object.entries(statuses).map(([status, n]) => (Number(status) >= 500 && status !== '503' ? n : 0))) +
    crowdFaults.filter((fault) => fault.includes('503 without Retry-After')).length;
  return {
    acknowledged: membersTold(gathered.answers).size,
    oversold: Math.max(0, audit.oversold),
    acknowledgedLost: audit.acknowledgedLost,
    servedTwice: audit.servedTwice,
    undelivered: audit.undelivered,
    fiveHundreds,
    mailsRepeated: sum([...sendings.values()].map((n) => n - 1)),
    faults: [
      ...faults,
      ...crowdFaults,
      ...evidence.verifyFaults,
      ...evidence.seen,
      ...(fiveHundreds > 0 ? [`${fiveHundreds} answers say that the server failed`] : []),
      ...stockFaults(evidence, lane),
      ...lostAnswerFaults(evidence),
      ...overtaken(evidence),
      ...(evidence.sentAgain ? [] : sentTooOften(sendings)),
    ].map((fault) => `${evidence.name}: ${fault}`),
  };
}

const sum = (numbers: readonly number[]): number => numbers.reduce((all, n) => all + n, 0);

function membersTold(answers: readonly KeptAnswer[]): ReadonlySet<number> {
  return new Set(
    answers.filter(({ status }) => status === 200 || status === 201 || status === 202).map((a) => a.member),
  );
}

function sendingsByCode({ mails }: Case): ReadonlyMap<string, number> {
  const sendings = new Map<string, number>();
  for (const mail of mails) sendings.set(codeOf(mail), (sendings.get(codeOf(mail)) ?? 0) + 1);
  return sendings;
}

function sentTooOften(sendings: ReadonlyMap<string, number>): string[] {
  return [...sendings].flatMap(([code, n]) =>
    n > mostSendings ? [`the code ${code} was sent ${n} times`] : [],
  );
}

/** More came than there is room for, so that in the end nothing may be left over: a refused member would have been owed it. */
function stockFaults(
  { crowding }: Evidence,
  lane: { issued: number; free: number; waiting: number },
): string[] {
  const { units, waitlistLimit } = crowding;
  const { issued, free, waiting } = lane;
  return issued === units && free === 0 && waiting === waitlistLimit
    ? []
    : [`${issued} of ${units} units issued, ${free} free, ${waiting} of ${waitlistLimit} waiting`];
}

/** What the server had answered and nobody received is what the member is told in the end. */
function lostAnswerFaults({ withheld, gathered }: Evidence): string[] {
  const told = new Map<string, string>();
  for (const { body } of gathered.answers) note(told, body as Withheld['body']);
  return withheld.flatMap(({ body }) => {
    const lost = placeOf(body);
    if (lost === null) return [];
    const later = told.get(lost.memberKey);
    return later === lost.place
      ? []
      : [`an answer that was lost said ${lost.place}; told in the end: ${later ?? 'nothing'}`];
  });
}

/**
 * Who was acknowledged before somebody else first asked stands before them, across any number of kills: with a 202 too, for it says that the queue holds the
 * entry. The first such fault is told; one lost entry makes many.
 */
function overtaken({ gathered, firstSentAt }: Evidence): string[] {
  const acknowledgedAt = new Map<number, number>();
  const seqs = new Map<number, number>();
  for (const { member, status, answeredAt, body } of gathered.answers) {
    if (status !== 200 && status !== 201 && status !== 202) continue;
    acknowledgedAt.set(member, Math.min(answeredAt, acknowledgedAt.get(member) ?? answeredAt));
    const { seq } = body as { seq?: number };
    if (seq !== undefined) seqs.set(member, seq);
  }
  for (const [member, at] of acknowledgedAt) {
    const own = seqs.get(member) ?? Number.POSITIVE_INFINITY;
    const later = [...seqs].find(([other, seq]) => seq < own && (firstSentAt[other] ?? 0) > at);
    if (later !== undefined)
      return [
        `member ${member} was acknowledged, then member ${later[0]} first asked and stands before them`,
      ];
  }
  return [];
}

function note(told: Map<string, string>, body: Withheld['body']): void {
  const place = placeOf(body);
  if (place !== null) told.set(place.memberKey, place.place);
}

function placeOf(body: Withheld['body']): { readonly memberKey: string; readonly place: string } | null {
  const { seq, verdict, unit } = body;
  const memberKey = (body['opening'] as { memberKey?: string } | undefined)?.memberKey;
  if (memberKey === undefined || typeof seq !== 'number') return null;
  return { memberKey, place: `${String(verdict)} ${seq} unit ${String(unit ?? 'none')}` };
}
