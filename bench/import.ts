/**
 * What an import of 100,000 rows into one campaign does to the entries of another, over HTTP: a real server, a steady stream of entries, and the ratio of
 * its p99 during the import to its p99 before, in the same run. The stream is paced below saturation, because at saturation any work would show.
 *
 *   node --conditions=doorbuster-source bench/import.ts [--rows 100000] [--rate 400] [--rounds 3] [--json]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { systemClock } from '@doorbuster/messaging';
import { Pool } from 'undici';
import { type Rig, startRig } from '../packages/server/src/cli/demo/rig.ts';
import { createSessions } from '../packages/server/src/http/auth/sessions.ts';
import { openSecrets } from '../packages/server/src/secrets.ts';
import { Vault } from '../packages/server/src/vault.ts';

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '100000' },
    rate: { type: 'string', default: '400' },
    rounds: { type: 'string', default: '3' },
    json: { type: 'boolean', default: false },
  },
});
const rows = Number(values.rows);
const rate = Number(values.rate);
const rounds = Number(values.rounds);
const CALM_MS = 6_000;

const text = { en: 'Bench' };
const definition = (capacity: number, startsAt: string) => ({
  title: text,
  prize: text,
  startsAt,
  stock: { capacity, closeWhenSoldOut: false },
  reward: { messengers: ['email'] },
});

/** Sends entries of fresh members at the rate until told to stop; returns the latencies in ms. */
function startStream(rig: Rig, campaignId: string, sessionOf: () => string): { stop(): Promise<number[]> } {
  const pool = new Pool(rig.url, { connections: 64, pipelining: 1 });
  const latencies: number[] = [];
  let running = true;
  const enter = async (): Promise<void> => {
    const started = performance.now();
    const answer = await pool.request({
      method: 'POST',
      path: `/v1/campaigns/${campaignId}/entries`,
      headers: { 'content-type': 'application/json', authorization: `Bearer ${sessionOf()}` },
      body: '{}',
    });
    await answer.body.dump();
    if (answer.statusCode !== 201) throw new Error(`an entry was answered ${answer.statusCode}`);
    latencies.push(performance.now() - started);
  };
  const sent: Promise<void>[] = [];
  const pace = (async () => {
    const began = performance.now();
    for (let n = 1; running; n++) {
      sent.push(enter());
      await delay(Math.max(0, began + (n * 1000) / rate - performance.now()));
    }
  })();
  return {
    async stop() {
      running = false;
      await pace;
      await Promise.all(sent);
      await pool.close();
      return latencies;
    },
  };
}

const p99 = (latencies: number[]): number =>
  latencies.sort((a, b) => a - b)[Math.floor(latencies.length * 0.99)] ?? 0;
const median = (numbers: number[]): number => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? 0;

const dataDir = mkdtempSync(join(tmpdir(), 'doorbuster-bench-'));
const rig = await startRig({ dataDir, port: 0, env: process.env });
try {
  const { secrets } = openSecrets(join(dataDir, 'secrets.json'), Date.now(), false);
  const sessions = createSessions(secrets.sessions, 60, systemClock);
  const vault = new Vault(secrets.master);
  let member = 0;
  const sessionOf = (): string => sessions.issue('hot', vault.memberKey('hot', `m-${member++}`)).session;

  const capacity = Math.ceil(rate * 120 * rounds);
  const codes = ['code', ...Array.from({ length: capacity }, (_, i) => `B-${i}`)].join('\n');
  const csv = (content: string) => ({
    raw: { contentType: 'text/csv; charset=utf-8', content: Buffer.from(content) },
  });
  await rig.client.call('POST', '/v1/campaigns', {
    body: { id: 'hot', definition: definition(capacity, new Date(Date.now() + 1_000).toISOString()) },
  });
  await rig.client.call('POST', '/v1/campaigns/hot/voucher-codes', csv(codes));
  await rig.client.call('POST', '/v1/campaigns/hot/publications', { body: {} });
  await rig.client.call('POST', '/v1/campaigns', {
    body: { id: 'cold', definition: definition(10, '2099-01-01T00:00:00Z') },
  });
  const members = [
    'memberId,email,orders',
    ...Array.from({ length: rows }, (_, i) => `cold-${i},cold-${i}@shop.example,${i % 9}`),
  ].join('\n');
  await delay(2_000);

  const results: { calmP99Ms: number; importP99Ms: number; importMs: number; entriesDuringImport: number }[] =
    [];
  for (let round = 0; round <= rounds; round++) {
    const calm = startStream(rig, 'hot', sessionOf);
    await delay(CALM_MS);
    const calmLatencies = await calm.stop();
    const busy = startStream(rig, 'hot', sessionOf);
    const began = performance.now();
    await rig.client.call('POST', '/v1/campaigns/cold/members?mode=replace', csv(members));
    const importMs = performance.now() - began;
    const busyLatencies = await busy.stop();
    // The first round warms up both paths.
    if (round > 0)
      results.push({
        calmP99Ms: p99(calmLatencies),
        importP99Ms: p99(busyLatencies),
        importMs,
        entriesDuringImport: busyLatencies.length,
      });
  }
  const ratio = median(results.map((r) => r.importP99Ms / r.calmP99Ms));
  const rounded = results.map((r) =>
    Object.fromEntries(Object.entries(r).map(([k, v]) => [k, Math.round(v * 10) / 10])),
  );
  if (values.json)
    process.stdout.write(
      `${JSON.stringify({ rows, rate, ratios: { p99DuringImportOverCalm: Math.round(ratio * 100) / 100 }, rounds: rounded })}\n`,
    );
  else {
    for (const round of rounded) process.stdout.write(`${JSON.stringify(round)}\n`);
    process.stdout.write(
      `p99 during an import of ${rows} rows over p99 before it (median of ${rounds}): ${ratio.toFixed(2)}\n`,
    );
  }
} finally {
  await rig.stop();
  rmSync(dataDir, { recursive: true, force: true });
}
