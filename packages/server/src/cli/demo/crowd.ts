/**
 * The crowd: a process of its own that plays the shop's members over HTTP and keeps every answer it was given. It knows nothing of the server
 * but its address, the campaign and the shop's token secret; the audit compares what it kept with the ledger and the mails.
 *
 * Input: the path of a JSON file (`CrowdOrder`) as its only argument. Output: one JSON object a line on stdout while it works
 * (`CrowdProgress`), and the answers as NDJSON (`KeptAnswer`) with a summary (`CrowdSummary`) in the files that the order names.
 */
import { createWriteStream, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { type Dispatcher, Pool } from 'undici';
import { type Act, memberIdOf, planCrowd } from './crowd-plan.ts';
import { memberTokenSigner } from './member-token.ts';
import { seededRandom } from './random.ts';

export interface CrowdOrder {
  readonly url: string;
  readonly campaignId: string;
  readonly tokenSecret: string;
  readonly audience: string;
  readonly entrants: number;
  readonly seed: number;
  /** Late-comers arrive over this time, ms. */
  readonly lateMs: number;
  readonly connections: number;
  readonly startsAtMs: number;
  /** Bodies that the survey accepts; each member sends one of them. */
  readonly answerSets: readonly unknown[];
  readonly answersFile: string;
  readonly summaryFile: string;
}
export interface CrowdProgress {
  readonly phase: 'sessions' | 'entries' | 'verdicts';
  readonly done: number;
  readonly total: number;
}
/** One answer to one entry request. */
export interface KeptAnswer {
  readonly member: number;
  readonly kind: Act['kind'];
  /** ms since the epoch */
  readonly sentAt: number;
  readonly answeredAt: number;
  readonly status: number;
  readonly verdict: string | null;
  readonly body: unknown;
}
export interface CrowdSummary {
  readonly requests: number;
  /** Entry requests only, answered, per second from the opening to the last answer. */
  readonly requestsPerSecond: number;
  /** ms, of valid entry requests after the opening */
  readonly latencyMs: { readonly p50: number; readonly p99: number; readonly max: number };
  /** First verdict of each member, by name; refusals of broken requests under `malformed`. */
  readonly verdicts: Readonly<Record<string, number>>;
  readonly statuses: Readonly<Record<string, number>>;
  /** Answers that no rule of the API allows, with examples. */
  readonly unexpected: readonly string[];
  readonly lastAnswerAt: number;
  /** How long after the opening the crowd was ready, ms: 0 unless the machine was too busy to sign everyone in before. */
  readonly crowdLateMs: number;
}

const order = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as CrowdOrder;
const { host, protocol, pathname } = new URL(order.url);
const base = `${pathname.replace(/\/$/, '')}/v1/campaigns/${order.campaignId}`;
const pool = new Pool(`${protocol}//${host}`, {
  connections: order.connections,
  pipelining: 1,
  headersTimeout: 60_000,
  bodyTimeout: 60_000,
});
const random = seededRandom(order.seed ^ 0x5eed);
const sign = memberTokenSigner(order.tokenSecret, order.audience);
const bodies = order.answerSets.map((answers) => JSON.stringify({ answers }));

let requests = 0;
const statuses: Record<string, number> = {};
const unexpected: string[] = [];
const kept: KeptAnswer[] = [];
const latencies: number[] = [];

interface Answer {
  readonly status: number;
  readonly retryAfterMs: number;
  readonly body: Record<string, unknown>;
}

async function call(
  method: Dispatcher.HttpMethod,
  path: string,
  session: string | null,
  body: string | null,
): Promise<Answer> {
  const headers: Record<string, string> = { accept: 'application/json' };
  if (session) headers.authorization = `Bearer ${session}`;
  if (body !== null) headers['content-type'] = 'application/json';
  const response = await pool.request({ method, path: base + path, headers, body });
  const text = await response.body.text();
  const status = response.statusCode;
  statuses[status] = (statuses[status] ?? 0) + 1;
  requests++;
  const retryAfter = Number(response.headers['retry-after'] ?? 1);
  return { status, retryAfterMs: (Number.isFinite(retryAfter) ? retryAfter : 1) * 1000, body: parse(text) };
}

function parse(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return { unparsed: text.slice(0, 200) };
  }
}

/** Sends until something was decided: 429 and 503 say "later", and a member comes back with full jitter. */
async function insist(
  method: Dispatcher.HttpMethod,
  path: string,
  session: string | null,
  body: string | null,
): Promise<Answer> {
  for (let attempt = 0; ; attempt++) {
    const answer = await call(method, path, session, body);
    if ((answer.status !== 429 && answer.status !== 503) || attempt >= 30) return answer;
    await delay(answer.retryAfterMs * random());
  }
}

async function session(member: number): Promise<string> {
  // The member list was imported with contacts, so the token only says who it is.
  const token = sign({ sub: memberIdOf(member) }, Date.now(), 30);
  const answer = await insist('POST', '/sessions', null, JSON.stringify({ token }));
  if (answer.status !== 201)
    throw new Error(
      `no session for ${memberIdOf(member)}: ${answer.status} ${JSON.stringify(answer.body).slice(0, 300)}`,
    );
  return String(answer.body.session);
}

const verdictOf = (answer: Answer): string | null =>
  typeof answer.body.verdict === 'string' ? answer.body.verdict : null;

async function enter(act: Act, own: string, timed: boolean): Promise<Answer> {
  const sentAt = Date.now();
  const started = performance.now();
  const answer = await insist('POST', '/entries', own, bodies[act.member % bodies.length] ?? '{}');
  if (timed) latencies.push(performance.now() - started);
  kept.push({
    member: act.member,
    kind: act.kind,
    sentAt,
    answeredAt: Date.now(),
    status: answer.status,
    verdict: verdictOf(answer),
    body: answer.body,
  });
  if (![200, 201, 202, 403, 409, 410].includes(answer.status))
    report(`entry of ${memberIdOf(act.member)}: ${answer.status} ${JSON.stringify(answer.body)}`);
  return answer;
}

function report(text: string): void {
  if (unexpected.length < 20) unexpected.push(text.slice(0, 400));
}

/**
 * A request that must be refused with one of these statuses, and decide nothing. Once nobody is taken any more, that is told whatever the body holds.
 */
async function refused(
  name: string,
  own: string | null,
  body: string,
  allowed: readonly number[],
): Promise<void> {
  const answer = await call('POST', '/entries', own, body);
  if (!allowed.includes(answer.status) && answer.status !== 429 && answer.status !== 503)
    report(`${name}: ${answer.status} ${JSON.stringify(answer.body)}`);
}

async function play(act: Act, own: string): Promise<void> {
  if (act.kind === 'bad-json') await refused('broken JSON', own, '{"answers":', [400, 410]);
  if (act.kind === 'bad-body')
    await refused('unknown field', own, '{"answers":{"favourite":"tea"},"winner":true}', [400, 410, 422]);
  if (act.kind === 'bad-session')
    await refused('tampered session', `${own.slice(0, -4)}AAAA`, bodies[0] ?? '{}', [401]);
  if (act.kind === 'double') {
    const [a, b] = await Promise.all([enter(act, own, true), enter(act, own, true)]);
    if (a.status < 300 && b.status < 300 && a.body.seq !== b.body.seq)
      report(`double click of ${memberIdOf(act.member)} got two numbers`);
    return;
  }
  const first = await enter(act, own, true);
  if (act.kind === 'retry') {
    const again = await enter(act, own, true);
    if (first.status === 201 && (again.status !== 200 || again.body.seq !== first.body.seq))
      report(`retry of ${memberIdOf(act.member)} got another answer`);
  }
}

/** Runs `work` over all items with so many at once; tells how far it is where the phase has a name. */
async function each<T>(
  items: readonly T[],
  atOnce: number,
  phase: CrowdProgress['phase'] | null,
  work: (item: T) => Promise<void>,
): Promise<void> {
  let next = 0;
  let done = 0;
  const every = Math.max(1, Math.floor(items.length / 100));
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const item = items[next++] as T;
      await work(item);
      if (phase && (++done % every === 0 || done === items.length))
        process.stdout.write(
          `${JSON.stringify({ phase, done, total: items.length } satisfies CrowdProgress)}\n`,
        );
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker));
}

/** Queued intake: members who were told "pending" ask until their verdict is there. */
async function learnVerdicts(sessions: readonly string[]): Promise<void> {
  const decided = new Set(
    kept.filter((k) => k.verdict !== 'pending' && k.verdict !== 'not-open').map((k) => k.member),
  );
  const pending = [...new Set(kept.filter((k) => k.verdict === 'pending').map((k) => k.member))].filter(
    (m) => !decided.has(m),
  );
  await each(pending, order.connections, 'verdicts', async (member) => {
    for (let attempt = 0; attempt < 300; attempt++) {
      const sentAt = Date.now();
      const answer = await insist('GET', '/entries/mine', sessions[member] ?? '', null);
      const verdict = verdictOf(answer);
      if (verdict && verdict !== 'pending') {
        kept.push({
          member,
          kind: 'entry',
          sentAt,
          answeredAt: Date.now(),
          status: answer.status,
          verdict,
          body: answer.body,
        });
        return;
      }
      await delay(50 + 200 * random());
    }
    report(`${memberIdOf(member)} never learnt a verdict`);
  });
}

/**
 * Members who try before the opening. Many at once and none once it is open: one after the other they would still be trying then on a busy
 * machine, and take the vouchers one by one while the crowd waits for them.
 */
async function tryEarly(acts: readonly Act[], sessions: readonly string[]): Promise<void> {
  const early = acts.filter((act) => act.kind === 'early');
  await each(early, order.connections, null, async (act) => {
    if (Date.now() >= order.startsAtMs) return;
    const answer = await enter(act, sessions[act.member] ?? '', false);
    if (Date.now() < order.startsAtMs && answer.body.verdict !== 'not-open')
      report(`let in before the opening: ${JSON.stringify(answer.body)}`);
  });
}

function summarize(lastAnswerAt: number, entryRequests: number, crowdLateMs: number): CrowdSummary {
  latencies.sort((a, b) => a - b);
  const at = (share: number) =>
    Math.round((latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0) * 10) /
    10;
  const final = new Map<number, string>();
  for (const k of kept) {
    const before = final.get(k.member);
    if (k.verdict && (before === undefined || before === 'pending' || before === 'not-open'))
      final.set(k.member, k.verdict);
  }
  const verdicts: Record<string, number> = {};
  for (const verdict of final.values()) verdicts[verdict] = (verdicts[verdict] ?? 0) + 1;
  const seconds = Math.max(0.001, (lastAnswerAt - order.startsAtMs) / 1000);
  return {
    requests,
    requestsPerSecond: Math.round(entryRequests / seconds),
    latencyMs: { p50: at(0.5), p99: at(0.99), max: at(1) },
    verdicts,
    statuses,
    unexpected,
    lastAnswerAt,
    crowdLateMs,
  };
}

async function main(): Promise<void> {
  const acts = planCrowd(order.entrants, order.seed, order.lateMs);
  const sessions: string[] = new Array<string>(order.entrants);
  await each(acts, order.connections, 'sessions', async (act) => {
    sessions[act.member] = await session(act.member);
  });
  await tryEarly(acts, sessions);
  const before = requests;
  const crowdLateMs = Math.max(0, Date.now() - order.startsAtMs);
  await delay(Math.max(0, order.startsAtMs - Date.now()));
  await each(acts, order.connections, 'entries', async (act) => {
    const wait = order.startsAtMs + act.arrivesAfterMs - Date.now();
    if (wait > 0) await delay(wait);
    await play(act, sessions[act.member] ?? '');
  });
  const lastAnswerAt = Date.now();
  const entryRequests = requests - before;
  await learnVerdicts(sessions);
  await pool.close();
  const out = createWriteStream(order.answersFile, { mode: 0o600 });
  for (const line of kept) out.write(`${JSON.stringify(line)}\n`);
  await new Promise<void>((resolve, reject) =>
    out.end((error?: Error | null) => (error ? reject(error) : resolve())),
  );
  writeFileSync(order.summaryFile, JSON.stringify(summarize(lastAnswerAt, entryRequests, crowdLateMs)));
}

await main();
