/**
 * A process of the benchmark: entries through the real ledger with its threads, as admission sends them (two batches outstanding), as fast as it takes
 * them. What the relay would do to the outbox is done; nothing is delivered. Makes the installation when there is none. Says what it took.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '@doorbuster/messaging';
import { createSessions } from '../packages/server/src/http/auth/sessions.ts';
import type { AdmissionCommand, Ledger } from '../packages/server/src/ledger.ts';
import { openSecrets } from '../packages/server/src/secrets.ts';
import { optionsOf, say } from './child-process.ts';
import { type ProcessCpu, processCpu } from './cpu.ts';
import { entryOf, makeInstallation, openThreaded, stock } from './installation.ts';
import { campaignOf, preparedFiles } from './system.ts';

export interface LoadOptions {
  readonly dataDir: string;
  readonly secretsFile: string;
  readonly batch: number;
  /** Of a new installation: units with a code, won by members with an address, and members with a session who have not entered. */
  readonly deliverable: number;
  readonly newcomers: number;
  /** Entries before the clock starts. */
  readonly warmUp: number;
  readonly entries: number;
}
/** Per entry, microseconds. CPU is null where it cannot be read. */
export interface LoadCost {
  readonly time: number;
  readonly cpu: number | null;
  readonly writerCpu: number | null;
}

const units = 5_000_000;
const outboxPage = 500;

const options = optionsOf<LoadOptions>();
const reachable = existsSync(options.dataDir) ? [] : await make();
const ledger = await openThreaded(options.dataDir);
await admit(batchesOf(options.warmUp, reachable));
const batches = batchesOf(options.entries, reachable);
const [before, from] = [processCpu(process.pid), performance.now()];
await admit(batches);
const [elapsed, after] = [performance.now() - from, processCpu(process.pid)];
await ledger.close();
await say(costOf(elapsed, before, after));
process.exit(0);

/** The keys of members with an address. */
async function make(): Promise<string[]> {
  const { dataDir, secretsFile, deliverable, newcomers } = options;
  const contacts = Array.from({ length: deliverable }, hex);
  await makeInstallation(dataDir, secretsFile);
  await stock(dataDir, [{ id: campaignOf(0), units, codes: deliverable, contacts }]);
  const { secrets } = openSecrets(secretsFile, Date.now(), false);
  const sessions = createSessions(secrets.sessions, 720, systemClock);
  const later = Array.from({ length: newcomers }, () => sessions.issue(campaignOf(0), hex()).session);
  writeFileSync(join(dataDir, preparedFiles.sessions), later.join('\n'));
  return contacts;
}

function hex(): string {
  return randomBytes(16).toString('hex');
}

function batchesOf(count: number, first: string[]): AdmissionCommand[][] {
  const command = (): AdmissionCommand => entryOf(first.shift() ?? hex());
  const size = (from: number): number => Math.min(options.batch, count - from);
  return Array.from({ length: Math.ceil(count / options.batch) }, (_, i) =>
    Array.from({ length: size(i * options.batch) }, command),
  );
}

async function admit(list: readonly AdmissionCommand[][]): Promise<void> {
  let next = 0;
  const oneAfterTheOther = async (): Promise<void> => {
    for (let batch = list[next++]; batch !== undefined; batch = list[next++])
      await ledger.admission.admit(campaignOf(0), batch);
  };
  let over = false;
  const relaying = relay(ledger, () => over);
  await Promise.all([oneAfterTheOther(), oneAfterTheOther()]);
  over = true;
  await relaying;
}

/** Takes rows from the outbox until it is empty and nothing more comes. */
async function relay({ outbox }: Ledger, over: () => boolean): Promise<void> {
  for (;;) {
    const rows = await outbox.readUnpublished(outboxPage);
    const last = rows.at(-1);
    if (last) await outbox.markPublished(last.number);
    else if (over()) return;
    else await new Promise((resolve) => void setTimeout(resolve, 20));
  }
}

function costOf(elapsedMs: number, before: ProcessCpu | null, after: ProcessCpu | null): LoadCost {
  const each = (ms: number | null): number | null =>
    ms === null ? null : Math.round((ms * 100_000) / options.entries) / 100;
  const [began, ended] = [before?.writer ?? null, after?.writer ?? null];
  return {
    time: each(elapsedMs) ?? 0,
    cpu: each(after && before ? after.total - before.total : null),
    writerCpu: each(began === null || ended === null ? null : ended - began),
  };
}
