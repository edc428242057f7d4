/**
 * One run of a crowd against a rig, and its proof: seed the campaign, let the crowd play, wait for the mails, export the chain, audit, verify the data
 * directory in a process of its own. The demo and rehearsals are this with different campaigns.
 */
import { createReadStream, readFileSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  createChainVerifier,
  decodeRecord,
  type ExportedBatch,
  type LaneRecord,
  type LaneState,
  type VerifySignature,
} from '@doorbuster/core';
import { verifierOf } from '../../audit/keys.ts';
import { CliError, exitCodes } from '../failure.ts';
import type { Terminal } from '../terminal.ts';
import { type AuditResult, audit } from './audit.ts';
import { startChild } from './child.ts';
import type { CrowdOrder, CrowdProgress, CrowdSummary, KeptAnswer } from './crowd.ts';
import { CODE_PATTERN, type Rig, seedCampaign } from './rig.ts';

export interface RunOptions {
  readonly campaignId: string;
  readonly definition: Record<string, unknown>;
  readonly answerSets: readonly unknown[];
  readonly entrants: number;
  readonly units: number;
  readonly seed: number;
  readonly connections: number;
  readonly env: NodeJS.ProcessEnv;
}

/** The demo's last line. Times in ms. */
export interface RunResult {
  readonly ok: boolean;
  readonly entrants: number;
  readonly requests: number;
  readonly units: number;
  readonly verdicts: Readonly<Record<string, number>>;
  readonly delivered: number;
  readonly oversold: number;
  readonly acknowledgedLost: number;
  readonly servedTwice: number;
  readonly undelivered: number;
  readonly chainVerified: boolean;
  readonly ledgerVerified: boolean;
  readonly receiptsChecked: number;
  /** Answered entry requests, refusals and repeats among them, per second from the opening to the last answer. */
  readonly requestsPerSecond: number;
  /** Entries stored per second from the opening to the last one. */
  readonly entriesPerSecond: number;
  readonly latencyMs: { readonly p50: number; readonly p99: number; readonly max: number };
  /** From the opening; null when units are left. */
  readonly soldOutAfterMs: number | null;
  /** From the opening to the last mail received; null when nothing was delivered. */
  readonly deliveredAfterMs: number | null;
  readonly statuses: Readonly<Record<string, number>>;
  readonly faults: readonly string[];
}

/** Sessions are handed out before the opening; this much time each, on a small machine. */
const HAND_OFF_MS = 0.6;
const DELIVERY_PATIENCE_MS = 60_000;

export async function runCrowd(rig: Rig, terminal: Terminal, options: RunOptions): Promise<RunResult> {
  const { campaignId, entrants, units } = options;
  terminal.say(
    `Making the campaign: ${units.toLocaleString('en')} vouchers, ${entrants.toLocaleString('en')} members`,
  );
  const startsAtMs = Math.ceil((Date.now() + 4_000 + entrants * HAND_OFF_MS) / 1000) * 1000;
  const codes = await seedCampaign(rig.client, {
    id: campaignId,
    definition: options.definition,
    entrants,
    units,
    startsAtMs,
  });
  terminal.say(`It opens at ${new Date(startsAtMs).toISOString()}; the members sign in meanwhile`);
  const files = {
    answersFile: join(rig.dataDir, `answers-${campaignId}.ndjson`),
    summaryFile: join(rig.dataDir, `crowd-${campaignId}.json`),
  };
  await playCrowd(rig, terminal, options, startsAtMs, files);
  const summary = JSON.parse(readFileSync(files.summaryFile, 'utf8')) as CrowdSummary;
  if (summary.crowdLateMs > 1_000)
    terminal.warn(
      `The machine is busy: the crowd was ready ${(summary.crowdLateMs / 1000).toFixed(1)} s after the opening, and times from the opening on include that.`,
    );
  const granted = await waitForDeliveries(rig, terminal, campaignId);
  const chain = await exportChain(rig, campaignId);
  const answers = await readLines<KeptAnswer>(files.answersFile);
  const mails = rig.mails().filter((m) => codes.has(CODE_PATTERN.exec(m.text)?.[0] ?? ''));
  const audited = audit({
    answers,
    ...chain,
    mails,
    codes,
    codePattern: CODE_PATTERN,
    sha256,
    verifySignature: chain.verifySignature,
  });
  const ledgerVerified = await verifyDataDir(rig, options.env);
  return resultOf(options, summary, chain, audited, granted, ledgerVerified);
}

const sha256 = (data: Uint8Array): Uint8Array => createHash('sha256').update(data).digest();

async function playCrowd(
  rig: Rig,
  terminal: Terminal,
  options: RunOptions,
  startsAtMs: number,
  files: { answersFile: string; summaryFile: string },
): Promise<void> {
  const order: CrowdOrder = {
    url: rig.url,
    campaignId: options.campaignId,
    tokenSecret: rig.tokenSecret,
    audience: 'doorbuster',
    entrants: options.entrants,
    seed: options.seed,
    lateMs: 2_000,
    connections: options.connections,
    startsAtMs,
    answerSets: options.answerSets,
    ...files,
  };
  const orderFile = join(rig.dataDir, `order-${options.campaignId}.json`);
  writeFileSync(orderFile, JSON.stringify(order), { mode: 0o600 });
  const program = fileURLToPath(
    new URL(import.meta.url.endsWith('.ts') ? './crowd.ts' : './crowd.js', import.meta.url),
  );
  const crowd = startChild('crowd', program, [orderFile], options.env);
  let phase = '';
  crowd.onLine((line) => {
    const progress = line as unknown as CrowdProgress;
    if (phase !== '' && phase !== progress.phase) terminal.progressEnd();
    phase = progress.phase;
    terminal.progress(progress.phase, progress.done, progress.total);
  });
  const stopped = (): void => void crowd.process.kill('SIGTERM');
  process.once('exit', stopped);
  await crowd.ready;
  const code = await crowd.ended;
  process.off('exit', stopped);
  terminal.progressEnd();
  if (code !== 0)
    await crowd.ready.then(() =>
      Promise.reject(
        new CliError(
          exitCodes.failed,
          `The crowd ended with code ${code}.`,
          'Run it again with a smaller --entrants.',
        ),
      ),
    );
}

/** Waits until every granted unit has its mail, by the mail server's own file; gives up after a minute without progress. */
async function waitForDeliveries(rig: Rig, terminal: Terminal, campaignId: string): Promise<number> {
  const campaign = (await rig.client.call('GET', `/v1/campaigns/${campaignId}`)).json as {
    lane: { issued: number };
  };
  const granted = campaign.lane.issued;
  let seen = -1;
  let since = Date.now();
  for (;;) {
    const arrived = new Set(rig.mails().map((m) => CODE_PATTERN.exec(m.text)?.[0])).size;
    terminal.progress('delivered', Math.min(arrived, granted), granted);
    if (arrived >= granted || Date.now() - since > DELIVERY_PATIENCE_MS) break;
    if (arrived !== seen) since = Date.now();
    seen = arrived;
    await delay(100);
  }
  terminal.progressEnd();
  return granted;
}

interface Chain {
  readonly exported: ReadonlyMap<number, string>;
  readonly records: readonly LaneRecord[];
  readonly lane: LaneState;
  readonly verified: boolean;
  readonly fault: string | null;
  readonly verifySignature: VerifySignature;
}

/** Exports the whole chain and verifies it from the public keys alone. */
async function exportChain(rig: Rig, campaignId: string): Promise<Chain> {
  const keys: unknown = await (await fetch(`${rig.url}/.well-known/doorbuster-keys.json`)).json();
  const verifySignature = verifierOf(keys);
  const text = await new Response(
    await rig.client.stream(`/v1/campaigns/${campaignId}/records`, 'application/x-ndjson'),
  ).text();
  writeFileSync(join(rig.dataDir, `records-${campaignId}.ndjson`), text);
  const verifier = createChainVerifier(sha256, verifySignature);
  const exported = new Map<number, string>();
  const records: LaneRecord[] = [];
  let fault: string | null = null;
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const batch = JSON.parse(line) as ExportedBatch;
    const checked = verifier.add(batch);
    if (!checked.ok)
      fault ??= `chain: ${checked.reason} at record ${checked.firstRecordNo}: ${checked.detail}`;
    for (const record of batch.records) {
      const decoded = decodeRecord(record);
      records.push(decoded);
      exported.set(decoded.recordNo, record);
    }
  }
  const lane = verifier.fold.lane();
  if (!lane)
    throw new CliError(exitCodes.failed, 'The export holds no records.', 'See the log of the server.');
  return { exported, records, lane, verified: fault === null, fault, verifySignature };
}

async function verifyDataDir(rig: Rig, env: NodeJS.ProcessEnv): Promise<boolean> {
  const program = fileURLToPath(
    new URL(import.meta.url.endsWith('.ts') ? '../main.ts' : '../main.js', import.meta.url),
  );
  const verify = startChild('verification', program, ['verify', '--json', '--data', rig.dataDir], env);
  const report = await verify.ready;
  return (await verify.ended) === 0 && report.ok === true;
}

async function readLines<T>(file: string): Promise<readonly T[]> {
  const items: T[] = [];
  for await (const line of createInterface({ input: createReadStream(file) }))
    if (line !== '') items.push(JSON.parse(line) as T);
  return items;
}

function resultOf(
  options: RunOptions,
  summary: CrowdSummary,
  chain: Chain,
  audited: AuditResult,
  granted: number,
  ledgerVerified: boolean,
): RunResult {
  const opened = chain.records.find((r) => r.type === 'OPENED')?.at ?? 0;
  const entries = chain.records.filter((r) => r.type === 'ENTRY');
  const soldOut = chain.records.find((r) => r.type === 'SOLD_OUT');
  const seconds = Math.max(0.001, ((entries.at(-1)?.at ?? opened) - opened) / 1000);
  const faults = [...(chain.fault ? [chain.fault] : []), ...summary.unexpected, ...audited.faults];
  const fiveHundreds = Object.keys(summary.statuses).filter((s) => Number(s) >= 500 && s !== '503');
  for (const status of fiveHundreds) faults.push(`${summary.statuses[status]} answers were ${status}`);
  if (audited.undelivered > 0 || audited.delivered !== granted)
    faults.push(`${audited.delivered} of ${granted} delivered`);
  if (!ledgerVerified) faults.push('doorbuster verify found faults in the data directory');
  const zeros = audited.oversold === 0 && audited.acknowledgedLost === 0 && audited.servedTwice === 0;
  return {
    ok: zeros && chain.verified && ledgerVerified && faults.length === 0,
    entrants: options.entrants,
    requests: summary.requests,
    units: options.units,
    verdicts: summary.verdicts,
    delivered: audited.delivered,
    oversold: audited.oversold,
    acknowledgedLost: audited.acknowledgedLost,
    servedTwice: audited.servedTwice,
    undelivered: audited.undelivered,
    chainVerified: chain.verified,
    ledgerVerified,
    receiptsChecked: audited.receiptsChecked,
    requestsPerSecond: summary.requestsPerSecond,
    entriesPerSecond: Math.round(entries.length / seconds),
    latencyMs: summary.latencyMs,
    soldOutAfterMs: soldOut ? soldOut.at - opened : null,
    deliveredAfterMs: audited.lastMailAt > 0 ? audited.lastMailAt - opened : null,
    statuses: summary.statuses,
    faults,
  };
}
