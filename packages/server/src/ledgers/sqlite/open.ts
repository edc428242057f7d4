/** Opens the ledger of a data directory for serving: the directory checked and locked, the file looked over, its threads running. */
import { existsSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Log } from '@doorbuster/messaging';
import { OperationalError } from '../../errors.ts';
import type { Ledger } from '../../ledger.ts';
import type { SigningKey } from '../../secrets.ts';
import { prepareDirectory } from './data-directory.ts';
import { createLedger } from './ledger-facade.ts';
import { isTooLargeToLookOver } from './ledger-file.ts';
import { lockDirectory } from './locks.ts';
import { ThreadedBackend } from './threaded-backend.ts';
import { readWitness } from './witness.ts';

export const ledgerFile = 'ledger.sqlite';
export const witnessFile = 'witness.json';

export interface SqliteLedgerOptions {
  readonly dataDir: string;
  /** 32 bytes from the secrets file. */
  readonly master: Uint8Array;
  /** Newest first. */
  readonly signingKeys: readonly SigningKey[];
  readonly log: Log;
  /** Called once when the store failed for good: end the process at once, nothing acknowledged is lost. */
  readonly fatal: (error: Error) => void;
  /** No warning for a data directory in memory. */
  readonly allowVolatile?: boolean;
}

export interface SqliteLedger extends Ledger {
  /** Lanes that stand still for a person: the ledger shows less than was witnessed. */
  halted(): readonly { readonly campaignId: string; readonly reason: string }[];
}

/** Throws LEDGER_LOCKED, LEDGER_UNSAFE, LEDGER_DAMAGED, LEDGER_NEWER, SECRETS_MISSING. */
export async function openSqliteLedger(options: SqliteLedgerOptions): Promise<SqliteLedger> {
  const { log, master, signingKeys, fatal } = options;
  const dataDir = resolve(options.dataDir);
  prepareDirectory(dataDir, { allowVolatile: options.allowVolatile ?? false, log });
  const lock = lockDirectory(dataDir);
  try {
    const files = { path: join(dataDir, ledgerFile), witnessPath: join(dataDir, witnessFile) };
    requireWitnessedLedger(files);
    const onHalt = ({ campaignId, reason }: (typeof backend.halted)[number]): void =>
      log.error({ campaignId, reason }, 'the lane is halted, for a person to look at it');
    const backend = await ThreadedBackend.open({ ...files, master, signingKeys, fatal, onHalt });
    for (const lane of backend.halted) onHalt(lane);
    if (isTooLargeToLookOver(files.path)) lookOverLater(backend, fatal);
    const close = async (): Promise<void> => {
      await backend.close();
      lock.release();
    };
    return { ...createLedger(backend), close, halted: () => backend.halted };
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** An empty file in the place of a ledger that had lanes would be served as a new installation. Throws LEDGER_DAMAGED. */
function requireWitnessedLedger({ path, witnessPath }: { path: string; witnessPath: string }): void {
  if (existsSync(path) && statSync(path).size > 0) return;
  const lanes = Object.keys(readWitness(witnessPath));
  if (lanes.length > 0)
    throw new OperationalError('LEDGER_DAMAGED', {
      detail: `${path} is missing or empty, and ${witnessPath} has seen ${lanes.length} campaigns in it (${lanes.slice(0, 3).join(', ')}).`,
    });
}

/** A file that took too long to check before serving is checked beside it. A closed ledger answers nothing and is no damage. */
function lookOverLater(backend: ThreadedBackend, fatal: (error: Error) => void): void {
  backend.lookOver().catch((error: unknown) => {
    if (error instanceof OperationalError && error.code === 'LEDGER_DAMAGED') fatal(error);
  });
}
