/**
 * Makes data directories as a shop would have them on the day: campaigns defined, codes and contacts imported, published, open. Through the ledger's own
 * port on its own file, in this thread and without a sync per transaction, because none of it is measured and all of it would
 * take minutes.
 */
import { randomBytes } from 'node:crypto';
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { silentLog, systemClock } from '@doorbuster/messaging';
import type { CampaignDefinition } from '../packages/server/src/campaign/definition.ts';
import type {
  AdmissionCommand,
  ImportKind,
  Ledger,
  MemberRow,
  VoucherRow,
} from '../packages/server/src/ledger.ts';
import { openInProcessLedger } from '../packages/server/src/ledgers/sqlite/in-process.ts';
import { openSqliteLedger, type SqliteLedger } from '../packages/server/src/ledgers/sqlite/open.ts';
import { ledgerPath } from '../packages/server/src/paths.ts';
import { systemRandomness } from '../packages/server/src/randomness.ts';
import { openSecrets, type Secrets } from '../packages/server/src/secrets.ts';
import { answers, survey } from './system.ts';

const actor = { kind: 'cli', id: 'bench' } as const;
const rowsAtOnce = 1_000;

export interface Stocked {
  readonly id: string;
  readonly units: number;
  /** Codes imported; a campaign that is only filled needs few. */
  readonly codes: number;
  /** Members with an address. */
  readonly contacts: readonly string[];
  /** Members who are in before the run. */
  readonly entered?: readonly string[];
}

/** The ledger of a data directory as the server opens it: with its threads. */
export function openThreaded(dataDir: string): Promise<SqliteLedger> {
  const { secrets } = openSecrets(join(dataDir, 'secrets.json'), Date.now(), false);
  return openSqliteLedger({
    dataDir,
    master: secrets.master,
    signingKeys: secrets.signing,
    log: silentLog,
    fatal: (error) => {
      throw error;
    },
  });
}

/** Makes the directory with its empty ledger. `secretsFile`: the one that all installations of a run have. */
export async function makeInstallation(dataDir: string, secretsFile: string): Promise<void> {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  copyFileSync(secretsFile, join(dataDir, 'secrets.json'));
  await (await openThreaded(dataDir)).close();
}

/** Adds the campaigns to the installation, and opens them. */
export async function stock(dataDir: string, campaigns: readonly Stocked[]): Promise<void> {
  const { secrets } = openSecrets(join(dataDir, 'secrets.json'), Date.now(), false);
  const ledger = openHere(dataDir, secrets);
  for (const campaign of campaigns) await stockOne(ledger, campaign);
  await ledger.campaigns.tick();
  for (const { id, entered } of campaigns)
    if (entered) await ledger.admission.admit(id, entered.map(entryOf));
  await ledger.close();
}

/** What admission asks of the ledger for a member's entry. */
export function entryOf(memberKey: string): AdmissionCommand {
  return { memberKey, salt: randomBytes(16).toString('hex'), answers, screenedOut: false };
}

function openHere(dataDir: string, { master, signing }: Secrets): Ledger {
  const db = new DatabaseSync(ledgerPath(dataDir));
  db.exec('PRAGMA synchronous = OFF; PRAGMA cache_size = -65536');
  const parts = { clock: systemClock, randomness: systemRandomness() };
  return openInProcessLedger({ master, signingKeys: signing, db, ...parts });
}

async function stockOne(ledger: Ledger, { id, units, codes, contacts }: Stocked): Promise<void> {
  await ledger.campaigns.create(id, definitionOf(units), actor);
  await bring(ledger, id, 'voucher-codes', codes, (importId, from, count) => {
    const code = (i: number): VoucherRow => ({ line: from + i + 1, code: `${id}-${from + i}` });
    return ledger.imports.voucherCodes(
      importId,
      Array.from({ length: count }, (_, i) => code(i)),
    );
  });
  await bring(ledger, id, 'members', contacts.length, (importId, from, count) => {
    const rows = contacts.slice(from, from + count).map(
      (memberKey, i): MemberRow => ({
        memberKey,
        contact: { email: `member-${from + i}@shop.example`, locale: 'en' },
        attributes: {},
      }),
    );
    return ledger.imports.members(importId, rows);
  });
  const published = await ledger.campaigns.publish(id, actor);
  if (!published.ok) throw new Error(`${id} was not published: ${published.code}`);
}

async function bring(
  ledger: Ledger,
  id: string,
  kind: ImportKind,
  rows: number,
  some: (importId: string, from: number, count: number) => Promise<unknown>,
): Promise<void> {
  if (rows === 0) return;
  const begun = await ledger.imports.begin(id, kind, 'append', actor);
  if (!begun.ok) throw new Error(`the import was refused: ${begun.code}`);
  for (let from = 0; from < rows; from += rowsAtOnce)
    await some(begun.value, from, Math.min(rowsAtOnce, rows - from));
  await ledger.imports.commit(begun.value);
}

function definitionOf(units: number): CampaignDefinition {
  return {
    title: { en: 'Benchmark' },
    prize: { en: 'One voucher' },
    startsAt: new Date(Date.now() - 60_000).toISOString(),
    stock: { capacity: units, closeWhenSoldOut: false },
    survey,
    reward: { voucherSource: 'pool', messengers: ['email'] },
  };
}
