/**
 * A SIMULATOR of a remote voucher provider, for development and tests. It gives away nothing of worth.
 *
 *   node --conditions=doorbuster-source examples/provider-simulator/main.ts --class idempotent --drop-share 0.3
 *
 * First line on stdout: {"port": 52526}. It speaks what docs/guides/voucher-sources.md asks of a provider, in one of two classes:
 *
 *   idempotent  a transaction id asked again gets the same voucher
 *   queryable   a transaction id asked again is refused (409); it can be queried and cancelled, and a cancelled id is dead
 *
 * Faults, drawn per POST from a seeded generator: `--refuse-share` (a definite 403), `--drop-share` (issues and hangs up without an
 * answer), `--lose-share` (never issues and hangs up), `--late-share` (hangs up at once and issues `--late-ms` later, unless cancelled by
 * then), `--rate-per-second` (429 above it). `GET /audit` tells what was really given, for tests; a provider has no such thing.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    class: { type: 'string', default: 'idempotent' },
    port: { type: 'string', default: '0' },
    secret: { type: 'string', default: 'simulator-secret' },
    seed: { type: 'string', default: '1' },
    'latency-ms': { type: 'string', default: '0' },
    'refuse-share': { type: 'string', default: '0' },
    'drop-share': { type: 'string', default: '0' },
    'lose-share': { type: 'string', default: '0' },
    'late-share': { type: 'string', default: '0' },
    'late-ms': { type: 'string', default: '200' },
    'rate-per-second': { type: 'string', default: '0' },
    'stdin-control': { type: 'boolean', default: false },
    available: { type: 'string', default: '1000000' },
  },
});
const setting = (name: Exclude<keyof typeof values, 'class' | 'secret' | 'stdin-control'>): number =>
  Number(values[name]);
const idempotent = values.class !== 'queryable';

interface Issued {
  readonly transactionId: string;
  readonly campaignId: string;
  readonly unit: number;
  readonly code: string;
}

const issued = new Map<string, Issued>();
const cancelled = new Set<string>();
const counts = {
  asked: 0,
  repeated: 0,
  refused: 0,
  dropped: 0,
  lost: 0,
  late: 0,
  throttled: 0,
  queried: 0,
  cancelled: 0,
  refusedDead: 0,
};
const random = seeded(setting('seed'));
let windowStart = 0;
let inWindow = 0;

/** mulberry32 */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function give(request: Omit<Issued, 'code'>): Issued {
  const made = {
    ...request,
    code: `SIM-${String(issued.size + 1).padStart(6, '0')}-${Math.floor(random() * 1e9)
      .toString(36)
      .toUpperCase()}`,
  };
  issued.set(request.transactionId, made);
  return made;
}

function answer(
  response: ServerResponse,
  status: number,
  body: object,
  headers: Record<string, string> = {},
): void {
  setTimeout(() => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(JSON.stringify(body));
  }, setting('latency-ms'));
}

function throttled(): boolean {
  const limit = setting('rate-per-second');
  const now = performance.now();
  if (now - windowStart >= 1_000) {
    windowStart = now;
    inWindow = 0;
  }
  inWindow += 1;
  return limit > 0 && inWindow > limit;
}

function fateOf(draw: number): 'refuse' | 'drop' | 'lose' | 'late' | 'answer' {
  let edge = 0;
  for (const fate of ['refuse', 'drop', 'lose', 'late'] as const) {
    edge += setting(`${fate}-share`);
    if (draw < edge) return fate;
  }
  return 'answer';
}

function issue(request: Omit<Issued, 'code'>, response: ServerResponse): void {
  counts.asked += 1;
  const { transactionId } = request;
  if (throttled()) {
    counts.throttled += 1;
    return answer(response, 429, { title: 'too many requests' }, { 'retry-after': '1' });
  }
  if (cancelled.has(transactionId)) {
    counts.refusedDead += 1;
    return answer(response, 410, { title: 'this transaction was cancelled' });
  }
  const before = issued.get(transactionId);
  if (before) {
    counts.repeated += 1;
    return idempotent
      ? answer(response, 200, { code: before.code })
      : answer(response, 409, { title: 'this transaction is known' });
  }
  switch (fateOf(random())) {
    case 'refuse':
      counts.refused += 1;
      return answer(response, 403, { title: 'refused by the simulator' });
    case 'drop':
      counts.dropped += 1;
      give(request);
      response.destroy();
      return;
    case 'lose':
      counts.lost += 1;
      response.destroy();
      return;
    case 'late':
      counts.late += 1;
      setTimeout(() => {
        if (!cancelled.has(transactionId) && !issued.has(transactionId)) give(request);
      }, setting('late-ms'));
      response.destroy();
      return;
    case 'answer':
      return answer(response, 201, { code: give(request).code, validUntil: '2099-12-31' });
  }
}

function query(transactionId: string, response: ServerResponse): void {
  counts.queried += 1;
  const found = issued.get(transactionId);
  if (found) return answer(response, 200, { state: 'issued', voucher: { code: found.code } });
  if (cancelled.has(transactionId)) return answer(response, 200, { state: 'cancelled' });
  answer(response, 404, { title: 'not found' });
}

function cancel(transactionId: string, response: ServerResponse): void {
  const found = issued.get(transactionId);
  if (found) return answer(response, 409, { state: 'issued', voucher: { code: found.code } });
  if (!cancelled.has(transactionId)) counts.cancelled += 1;
  cancelled.add(transactionId);
  answer(response, 200, { state: 'cancelled' });
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown;
}

async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = request.url ?? '/';
  if (request.headers.authorization !== `Bearer ${values.secret}`)
    return answer(response, 401, { title: 'wrong secret' });
  if (path === '/status')
    return answer(response, 200, { simulator: true, available: setting('available') - issued.size });
  if (path === '/audit')
    return answer(response, 200, { issued: [...issued.values()], cancelled: [...cancelled], counts });
  if (path === '/vouchers' && request.method === 'POST')
    return issue((await bodyOf(request)) as Issued, response);
  const transactionId = /^\/vouchers\/([\w-]{1,128})$/.exec(path)?.[1];
  if (transactionId && request.method === 'GET') return query(transactionId, response);
  if (transactionId && request.method === 'DELETE') return cancel(transactionId, response);
  answer(response, 404, { title: 'no such resource' });
}

const server = createServer((request, response) => {
  handle(request, response).catch((error: unknown) => answer(response, 400, { title: String(error) }));
});
server.listen(setting('port'), '127.0.0.1', () => {
  process.stdout.write(
    `${JSON.stringify({ port: (server.address() as AddressInfo).port, simulator: true })}\n`,
  );
});

// Whoever started it holds its stdin; when that ends, so does the simulator.
if (values['stdin-control']) process.stdin.on('end', () => process.exit(0)).resume();
