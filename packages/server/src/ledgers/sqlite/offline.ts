/** What the command line does with a data directory while no server needs it: verify, back up, restore. */
import { copyFileSync, existsSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { type Clock, silentLog, systemClock } from '@doorbuster/messaging';
import { publicKeySet, verifierOf } from '../../audit/keys.ts';
import { Signer } from '../../audit/signer.ts';
import { OperationalError } from '../../errors.ts';
import type { VerifyReport } from '../../ledger.ts';
import { type Randomness, systemRandomness } from '../../randomness.ts';
import type { SigningKey } from '../../secrets.ts';
import { Vault } from '../../vault.ts';
import { prepareDirectory } from './data-directory.ts';
import { explain, lookOver, openForReading, openLedgerFile, syncDirectory } from './ledger-file.ts';
import { lockDirectory } from './locks.ts';
import { ledgerFile, witnessFile } from './open.ts';
import { requireOwnSecrets } from './own-secrets.ts';
import { prepareStore } from './prepare.ts';
import { Sql } from './sql.ts';
import { openStore } from './store.ts';
import { Transaction } from './transaction.ts';
import { verifyLedger } from './verify.ts';
import { readWitness, rolledBack, type Witnessed, writeWitness } from './witness.ts';

/**
 * Read-only; also beside a running server, then of one state of it. A ledger that was rolled back is whole in itself, so it is held against the witness too: that is
 * read first, because a running server commits before it witnesses. Throws LEDGER_DAMAGED when the file cannot be read, SECRETS_MISSING.
 */
export function verifyLedgerFile(
  path: string,
  parts: { readonly vault: Vault; readonly signingKeys: readonly SigningKey[] },
): VerifyReport {
  const witnessed = readWitness(join(dirname(path), witnessFile));
  const db = openForReading(path);
  try {
    db.exec('BEGIN');
    const sql = new Sql(db);
    requireOwnSecrets(sql, parts.vault);
    const report = verifyLedger(db, {
      verifySignature: verifierOf(publicKeySet(parts.signingKeys)),
      vault: parts.vault,
    });
    const missing = rolledBack(sql, witnessed).map(({ campaignId, reason }) => ({
      invariant: 'I2',
      campaignId,
      detail: reason,
    }));
    return {
      ...report,
      ok: report.ok && missing.length === 0,
      violations: [...report.violations, ...missing],
    };
  } catch (error) {
    throw explain(error);
  } finally {
    db.close();
  }
}

/** A consistent copy, also of a ledger in use. Refuses to overwrite. */
export function backupLedgerFile(path: string, to: string): void {
  if (existsSync(to))
    throw new OperationalError('LEDGER_UNSAFE', { detail: `${to} exists; a backup never overwrites.` });
  const db = openForReading(path);
  try {
    db.prepare('VACUUM INTO ?').run(to);
  } finally {
    db.close();
  }
  syncDirectory(to);
}

/** `clock` and `randomness`: the machine's own, unless a simulator brings others. */
export interface RestoreParts {
  readonly master: Uint8Array;
  readonly signingKeys: readonly SigningKey[];
  readonly clock?: Clock;
  readonly randomness?: Randomness;
}

/**
 * Puts a backup into the data directory, once a copy of it lies there whole. The ledger that was there is kept beside it. Every lane enters an epoch above
 * all that were seen, with a RESTORED record: what was acknowledged after the backup may be missing, and the receipts of the older epoch say so. Returns the
 * ids of those lanes.
 * Throws LEDGER_DAMAGED, LEDGER_NEWER, LEDGER_UNSAFE, SECRETS_MISSING, with nothing replaced.
 */
export function restoreLedgerFile(from: string, dataDir: string, keys: RestoreParts): readonly string[] {
  checkFile(from, (db) => requireOwnSecrets(new Sql(db), new Vault(keys.master)));
  prepareDirectory(dataDir, { allowVolatile: true, log: silentLog });
  const lock = lockDirectory(dataDir);
  try {
    const path = join(dataDir, ledgerFile);
    const seen = epochsSeen(dataDir, path);
    const copy = `${path}.restoring`;
    try {
      copyFileSync(from, copy);
      // Read whole, however large: what is damaged must not take the place of a ledger.
      checkFile(copy, lookOver);
      setAside(path);
      renameSync(copy, path);
    } finally {
      // Where it was in WAL mode, looking over it leaves these.
      for (const suffix of ['', '-wal', '-shm']) rmSync(copy + suffix, { force: true });
    }
    syncDirectory(path);
    return raiseEpochs(path, join(dataDir, witnessFile), seen, keys);
  } finally {
    lock.release();
  }
}

/** Throws LEDGER_DAMAGED, LEDGER_NEWER and what `check` throws. */
function checkFile(path: string, check: (db: DatabaseSync) => void): void {
  const db = openForReading(path);
  try {
    check(db);
  } catch (error) {
    throw explain(error);
  } finally {
    db.close();
  }
}

/** The highest epoch by campaign, from the witness and the ledger that is there. A damaged ledger is what a restore is for: it says nothing. */
function epochsSeen(dataDir: string, path: string): Map<string, number> {
  const epochs = new Map<string, number>();
  const see = (id: string, epoch: number): void => void epochs.set(id, Math.max(epoch, epochs.get(id) ?? 0));
  for (const [id, { epoch }] of Object.entries(readWitness(join(dataDir, witnessFile)))) see(id, epoch);
  if (!existsSync(path)) return epochs;
  try {
    const db = openForReading(path);
    for (const row of db.prepare('SELECT c.id, l.epoch FROM lanes l JOIN campaigns c USING (campaign)').all())
      see(row['id'] as string, row['epoch'] as number);
    db.close();
  } catch (error) {
    if (!(error instanceof OperationalError)) throw error;
  }
  return epochs;
}

function setAside(path: string): void {
  if (!existsSync(path)) return;
  let n = 1;
  while (existsSync(`${path}.before-restore-${n}`)) n++;
  for (const suffix of ['', '-wal', '-shm']) {
    if (existsSync(path + suffix)) renameSync(path + suffix, `${path}.before-restore-${n}${suffix}`);
  }
}

function raiseEpochs(
  path: string,
  witnessPath: string,
  seen: ReadonlyMap<string, number>,
  keys: RestoreParts,
): string[] {
  const db = openLedgerFile(path);
  const store = openStore({
    db,
    clock: keys.clock ?? systemClock,
    randomness: keys.randomness ?? systemRandomness(),
    vault: new Vault(keys.master),
    signer: new Signer(keys.signingKeys),
    role: 'writer',
  });
  prepareStore(store);
  db.exec('BEGIN IMMEDIATE');
  const tx = new Transaction(store.clock.now());
  const lanes = store.sql.all<{ id: string; epoch: number }>(
    'SELECT c.id, l.epoch FROM lanes l JOIN campaigns c USING (campaign) ORDER BY c.campaign',
  );
  for (const { id, epoch } of lanes)
    store.campaignStore.restore(tx, id, Math.max(epoch, seen.get(id) ?? 0) + 1);
  store.log.signMissing();
  db.exec('COMMIT');
  const witnessed: Record<string, Witnessed[string]> = {};
  for (const { batch } of tx.sealed) {
    const { campaign, epoch, firstRecordNo, count, head } = batch.head;
    witnessed[campaign] = { epoch, recordNo: firstRecordNo + count - 1, head };
  }
  db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  db.close();
  rmSync(witnessPath, { force: true });
  writeWitness(witnessPath, witnessed);
  return lanes.map(({ id }) => id);
}
