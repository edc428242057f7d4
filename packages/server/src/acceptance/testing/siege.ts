/**
 * Two sieges of a running server, as long as one likes: a crowd far beyond its places that honours nothing, and a flood of credentials that nobody gave. Used by
 * the tests for seconds and by `npm run abuse` for as long as it takes to believe it. They report figures; what holds is for the caller to say.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { Pool } from 'undici';
import { systemClock } from '@doorbuster/messaging';
import { type Crowd, range } from './crowd.ts';
import type { Installation } from './installation.ts';

/** Each of `connections` comes back at once, whatever it is told, as one member after the other. */
export async function storm(
  crowd: Crowd,
  {
    members,
    connections,
    goesOn,
  }: { readonly members: number; readonly connections: number; readonly goesOn: () => boolean },
): Promise<void> {
  let next = 0;
  await Promise.all(
    range(connections).map(async () => {
      while (goesOn()) await crowd.enter(next++ % members);
    }),
  );
}

export interface FloodPlan {
  readonly campaignId: string;
  readonly count: number;
  readonly connections: number;
  /** Members who are in and ask all the while, on connections of their own, one after the other. */
  readonly good: Crowd;
}

export interface FloodReport {
  readonly sent: number;
  readonly statuses: Readonly<Record<string, number>>;
  readonly perSecond: number;
  readonly good: {
    readonly answers: number;
    readonly p50Ms: number;
    readonly p99Ms: number;
    readonly maxMs: number;
  };
  /** The same members before the flood. */
  readonly calm: { readonly p50Ms: number; readonly p99Ms: number };
  /** MiB of the server's process: before, after a quarter, at the end. */
  readonly memoryMiB: readonly [before: number, quarter: number, end: number];
  readonly faults: readonly string[];
}

/** Tokens of every kind that is wrong, all different: each has to be looked at. */
export function badToken(i: number): string {
  const random = randomBytes(24).toString('base64url');
  const header = part({ alg: i % 8 === 0 ? 'none' : 'HS256', typ: 'JWT' });
  const claims = part({
    sub: `member-${i}`,
    aud: 'doorbuster',
    iat: 1_700_000_000,
    exp: 9_999_999_999,
    jti: random,
  });
  switch (i % 4) {
    case 0:
      return `${header}.${claims}.${i % 8 === 0 ? '' : random}`;
    case 1:
      return `${header}.${claims}.${createHmac('sha256', 'a secret that is not ours').update(`${header}.${claims}`).digest('base64url')}`;
    case 2:
      // Shaped like a session.
      return `s1.${(systemClock.now() + 3_600_000).toString(36)}.${randomBytes(16).toString('hex')}.${random}`;
    default:
      return random;
  }
}

const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const goodMembers = 8;

export async function flood(shop: Installation, plan: FloodPlan): Promise<FloodReport> {
  const { good } = plan;
  const statuses: Record<string, number> = {};
  const faults: string[] = [];
  const before = memoryMiB(shop.pid);
  const calmFrom = good.answers.length;
  await good.each(
    range(200).map((i) => i % goodMembers),
    goodMembers,
    (member) => good.enter(member),
  );
  const goodFrom = good.answers.length;
  let sent = 0;
  let isOver = false;
  let quarter = before;
  const pool = new Pool(shop.url, {
    connections: plan.connections,
    headersTimeout: 60_000,
    bodyTimeout: 60_000,
  });
  const flooding = async (): Promise<void> => {
    while (sent < plan.count) {
      const i = sent++;
      if (i === Math.floor(plan.count / 4)) quarter = memoryMiB(shop.pid);
      const { statusCode, headers, body } = await pool.request({
        method: 'POST',
        path: `/v1/campaigns/${plan.campaignId}/entries`,
        headers: { authorization: `Bearer ${badToken(i)}`, 'content-type': 'application/json' },
        body: '{}',
      });
      await body.dump();
      statuses[statusCode] = (statuses[statusCode] ?? 0) + 1;
      const isRight = statusCode === 401 || (statusCode === 503 && Number(headers['retry-after']) >= 1);
      if (!isRight && faults.length < 20) faults.push(`bad token ${i}: ${statusCode}`);
    }
  };
  const asking = range(goodMembers).map(async (member) => {
    while (!isOver) await good.enter(member);
  });
  const startedAt = systemClock.monotonic();
  await Promise.all(range(plan.connections).map(flooding)).finally(() => {
    isOver = true;
  });
  const seconds = (systemClock.monotonic() - startedAt) / 1_000;
  await Promise.all(asking);
  await pool.destroy();
  const latencies = (from: number, to?: number): number[] =>
    good.answers
      .slice(from, to)
      .map(({ sentAt, answeredAt }) => answeredAt - sentAt)
      .sort((a, b) => a - b);
  const calm = latencies(calmFrom, goodFrom);
  const during = latencies(goodFrom);
  return {
    sent: Object.values(statuses).reduce((sum, count) => sum + count, 0),
    statuses,
    perSecond: Math.round(plan.count / seconds),
    good: {
      answers: during.length,
      p50Ms: share(during, 0.5),
      p99Ms: share(during, 0.99),
      maxMs: share(during, 1),
    },
    calm: { p50Ms: share(calm, 0.5), p99Ms: share(calm, 0.99) },
    memoryMiB: [before, quarter, memoryMiB(shop.pid)],
    faults: [...faults, ...good.faults],
  };
}

const share = (sorted: readonly number[], p: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? 0;

/** Resident memory of a process. */
export function memoryMiB(pid: number): number {
  return Math.round(
    Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' })) / 1024,
  );
}
