/** The port's contract on both ways to run the ledger: behind its threads on a real file, and in this thread in memory. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog, systemClock } from '@doorbuster/messaging';
import { testLedger } from '../../ledger.contract.ts';
import { master, signingKeys } from '../../ledger-fixture.ts';
import { systemRandomness } from '../../randomness.ts';
import { Vault } from '../../vault.ts';
import { openInProcessLedger } from './in-process.ts';
import { verifyLedgerFile } from './offline.ts';
import { ledgerFile, openSqliteLedger } from './open.ts';

testLedger('the SQLite ledger in process', async () => {
  const keys = signingKeys();
  const parts = { master, signingKeys: keys, clock: systemClock, randomness: systemRandomness() };
  const ledger = openInProcessLedger(parts);
  const dispose = async () => {
    const report = await ledger.verify();
    await ledger.close();
    return report;
  };
  return { ledger, signingKeys: keys, dispose };
});

testLedger('the SQLite ledger behind its threads', async () => {
  const keys = signingKeys();
  const dataDir = mkdtempSync(join(tmpdir(), 'ledger-'));
  const fatal = (error: Error): void => {
    throw error;
  };
  const ledger = await openSqliteLedger({
    dataDir,
    master,
    signingKeys: keys,
    log: silentLog,
    fatal,
    allowVolatile: true,
  });
  const dispose = async () => {
    await ledger.close();
    const report = verifyLedgerFile(join(dataDir, ledgerFile), {
      vault: new Vault(master),
      signingKeys: keys,
    });
    rmSync(dataDir, { recursive: true });
    return report;
  };
  return { ledger, signingKeys: keys, dispose };
});
