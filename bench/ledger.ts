/**
 * The ledger alone: entries a second through writer and reader threads, against the bare group commit of one appended row (the ceiling of this disk), and what an
 * import of 100,000 members does to the p99 of admission. Ratios are the result; the figures belong to the machine.
 *
 *   node --conditions=doorbuster-source bench/ledger.ts [--entries 60000] [--batch 250] [--rows 100000] [--json]
 */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { parseArgs } from 'node:util';
import { silentLog } from '@doorbuster/messaging';
import type { AdmissionCommand } from '../packages/server/src/ledger.ts';
import { openSqliteLedger, type SqliteLedger } from '../packages/server/src/ledgers/sqlite/open.ts';

const { values } = parseArgs({
  options: {
    entries: { type: 'string', default: '60000' },
    batch: { type: 'string', default: '250' },
    rows: { type: 'string', default: '100000' },
    json: { type: 'boolean', default: false },
  },
});
const entries = Number(values.entries);
const batchSize = Number(values.batch);
const rows = Number(values.rows);
const operator = { kind: 'cli', id: 'bench' } as const;
const hex = (): string => randomBytes(16).toString('hex');

function batchesOf(count: number, size: number): AdmissionCommand[][] {
  const command = (): AdmissionCommand => ({
    memberKey: hex(),
    salt: hex(),
    answers: null,
    screenedOut: false,
  });
  return Array.from({ length: Math.ceil(count / size) }, () => Array.from({ length: size }, command));
}

async function publish(ledger: SqliteLedger, id: string, capacity: number): Promise<void> {
  const text = { en: 'Bench' };
  const stock = { capacity, closeWhenSoldOut: false };
  await ledger.campaigns.create(
    id,
    { title: text, prize: text, startsAt: '2020-01-01T00:00:00Z', stock, reward: { messengers: ['file'] } },
    operator,
  );
  await ledger.campaigns.publish(id, operator);
}

/** Two batches outstanding, as admission does it. Returns the latency of each batch in ms. */
async function admitAll(
  ledger: SqliteLedger,
  id: string,
  batches: readonly AdmissionCommand[][],
): Promise<number[]> {
  const latencies: number[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let batch = batches[next++]; batch !== undefined; batch = batches[next++]) {
      const from = performance.now();
      await ledger.admission.admit(id, batch);
      latencies.push(performance.now() - from);
    }
  };
  await Promise.all([worker(), worker()]);
  return latencies.sort((a, b) => a - b);
}

/** Rows a second of one row per entry, appended, in batches of the same size. */
function bareGroupCommit(dataDir: string): number {
  const db = new DatabaseSync(join(dataDir, 'bare.sqlite'));
  db.exec(
    'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE entries (seq INTEGER PRIMARY KEY, member BLOB, body TEXT) STRICT',
  );
  const insert = db.prepare('INSERT INTO entries (member, body) VALUES (?, ?)');
  const body = 'x'.repeat(230);
  const from = performance.now();
  for (let at = 0; at < entries; at += batchSize) {
    db.exec('BEGIN IMMEDIATE');
    for (let i = 0; i < batchSize; i++) insert.run(randomBytes(16), body);
    db.exec('COMMIT');
  }
  const perSecond = entries / ((performance.now() - from) / 1000);
  db.close();
  return perSecond;
}

async function importMembers(ledger: SqliteLedger): Promise<number> {
  await publish(ledger, 'listed', 10);
  const begun = await ledger.imports.begin('listed', 'members', 'append', operator);
  if (!begun.ok) throw new Error(begun.code);
  const from = performance.now();
  for (let at = 0; at < rows; at += 1000) {
    const chunk = Array.from({ length: 1000 }, (_, i) => ({
      memberKey: hex(),
      contact: { email: `member${at + i}@example.com` },
      attributes: { orders: i },
    }));
    await ledger.imports.members(begun.value, chunk);
  }
  await ledger.imports.commit(begun.value);
  return performance.now() - from;
}

const p = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
const round = (value: number): number => Math.round(value * 100) / 100;

const dataDir = mkdtempSync(join(import.meta.dirname, '.ledger-'));
const signingKeys = [{ kid: 'bench', ...generateKeyPairSync('ed25519'), validFrom: 0, validUntil: null }];
const fatal = (error: Error): never => {
  throw error;
};
try {
  const bare = bareGroupCommit(dataDir);
  const ledger = await openSqliteLedger({
    dataDir,
    master: randomBytes(32),
    signingKeys,
    log: silentLog,
    fatal,
  });
  await publish(ledger, 'warm', 1e6);
  await admitAll(ledger, 'warm', batchesOf(10_000, batchSize));
  await publish(ledger, 'hot', 1e6);
  const hot = batchesOf(entries, batchSize);
  const from = performance.now();
  const latencies = await admitAll(ledger, 'hot', hot);
  const perSecond = entries / ((performance.now() - from) / 1000);
  const quiet = await paced(ledger, 'quiet', perSecond / 4, null);
  const importing = importMembers(ledger);
  const beside = await paced(ledger, 'beside', perSecond / 4, importing);
  const importMs = await importing;
  await ledger.close();
  report({
    entriesPerSecond: Math.round(perSecond),
    batchMs: { p50: round(p(latencies, 0.5)), p99: round(p(latencies, 0.99)) },
    ratios: {
      overBareGroupCommit: round(perSecond / bare),
      p99WithImportOverWithout: round(p(beside, 0.99) / p(quiet, 0.99)),
    },
    p99Ms: { quiet: round(p(quiet, 0.99)), besideImport: round(p(beside, 0.99)) },
    importRowsPerSecond: Math.round(rows / (importMs / 1000)),
  });
} finally {
  rmSync(dataDir, { recursive: true });
}

/** A quarter of the load that it can bear, in batches of 50: latency says something only below saturation. Runs as long as `until`, or 6 s. */
async function paced(
  ledger: SqliteLedger,
  id: string,
  perSecond: number,
  until: Promise<unknown> | null,
): Promise<number[]> {
  await publish(ledger, id, 1e6);
  const latencies: number[] = [];
  const pending = new Set<Promise<void>>();
  let done = false;
  const end = performance.now() + 6000;
  void until?.then(() => {
    done = true;
  });
  while (until === null ? performance.now() < end : !done) {
    const from = performance.now();
    const one: Promise<void> = ledger.admission
      .admit(id, batchesOf(50, 50)[0] as AdmissionCommand[])
      .then(() => {
        latencies.push(performance.now() - from);
        pending.delete(one);
      });
    pending.add(one);
    await new Promise((resolve) => setTimeout(resolve, 50_000 / perSecond));
  }
  await Promise.all(pending);
  return latencies.sort((a, b) => a - b);
}

function report(result: Readonly<Record<string, unknown>>): void {
  process.stdout.write(values.json ? `${JSON.stringify(result)}\n` : `${JSON.stringify(result, null, 2)}\n`);
}
