import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it } from 'vitest';
import { startChild } from './child.ts';
import type { CrowdOrder, CrowdSummary } from './crowd.ts';
import { planCrowd } from './crowd-plan.ts';

/** The crowd's program against a server that only answers: what it measures must be the server, not its own waiting. */
const entrants = 200;
const seed = 1;
const earlyMembers = planCrowd(entrants, seed, 0).filter((act) => act.kind === 'early').length;

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

const json = (response: ServerResponse, status: number, body: unknown): void =>
  void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));

/** Plays the crowd against a server that answers sessions itself and leaves entries to `onEntry`. */
async function play(
  startsAtMs: number,
  onEntry: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<CrowdSummary> {
  const server = createServer((request, response) => {
    request.resume();
    request.once('end', () =>
      request.url?.endsWith('/sessions') ? json(response, 201, { session: 's' }) : onEntry(request, response),
    );
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const dir = mkdtempSync(join(tmpdir(), 'doorbuster-crowd-'));
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
    rmSync(dir, { recursive: true, force: true });
  });
  const order: CrowdOrder = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    campaignId: 'c',
    tokenSecret: 'x'.repeat(32),
    audience: 'doorbuster',
    entrants,
    seed,
    lateMs: 0,
    connections: 32,
    startsAtMs,
    answerSets: [{}],
    answersFile: join(dir, 'answers'),
    summaryFile: join(dir, 'summary'),
  };
  writeFileSync(join(dir, 'order'), JSON.stringify(order));
  const program = fileURLToPath(new URL('./crowd.ts', import.meta.url));
  const crowd = startChild('crowd', program, [join(dir, 'order')], process.env);
  cleanups.push(() => void crowd.process.kill('SIGKILL'));
  expect(await crowd.ended).toBe(0);
  return JSON.parse(readFileSync(order.summaryFile, 'utf8')) as CrowdSummary;
}

it('tries all early members at once, so that none of them is still at it when the campaign opens', async () => {
  expect(earlyMembers).toBeGreaterThan(1);
  const held: ServerResponse[] = [];
  let open = false;
  const startsAtMs = Date.now() + 12_000;
  await play(startsAtMs, (_request, response) => {
    if (open) return json(response, 410, { verdict: 'sold-out' });
    held.push(response);
    if (held.length < earlyMembers) return;
    open = true;
    for (const early of held) json(early, 409, { verdict: 'not-open' });
  });
  expect(held).toHaveLength(earlyMembers);
});

it('tries nobody early once it is open, and says how late the crowd was', async () => {
  let firsts = 0;
  const startsAtMs = Date.now() - 60_000;
  const summary = await play(startsAtMs, (_request, response) => {
    firsts += 1;
    json(response, 410, { verdict: 'sold-out' });
  });
  const acts = planCrowd(entrants, seed, 0);
  const count = (kind: string): number => acts.filter((act) => act.kind === kind).length;
  const twice =
    count('double') + count('retry') + count('bad-json') + count('bad-body') + count('bad-session');
  expect(firsts).toBe(entrants + twice);
  expect(summary.crowdLateMs).toBeGreaterThanOrEqual(60_000);
});
