/** Crashes of the real thing: processes killed with -9 while they admit, a WAL torn at its end, a second process, a full disk, a rolled back file. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { silentLog } from '@doorbuster/messaging';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { definitionOf, entryOfMember, master, members, operator, publish } from '../../ledger-fixture.ts';
import type { SigningKey } from '../../secrets.ts';
import { Vault } from '../../vault.ts';
import { fileSystemOf } from './data-directory.ts';
import { backupLedgerFile, restoreLedgerFile, verifyLedgerFile } from './offline.ts';
import { openSqliteLedger, type SqliteLedger } from './open.ts';

let dataDir: string;
let keyFile: string;
let signingKeys: SigningKey[];
const children: ChildProcessWithoutNullStreams[] = [];

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'crash-'));
  keyFile = join(dataDir, 'key.pem');
  const pair = generateKeyPairSync('ed25519');
  writeFileSync(keyFile, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  signingKeys = [{ kid: 'k-test', ...pair, validFrom: 0, validUntil: null }];
});
afterEach(() => {
  for (const child of children.splice(0))
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  rmSync(dataDir, { recursive: true });
});

const open = (
  fatal: (error: Error) => void = (error) => {
    throw error;
  },
): Promise<SqliteLedger> =>
  openSqliteLedger({ dataDir, master, signingKeys, log: silentLog, fatal, allowVolatile: true });
/** The file with the first page of a table overwritten. */
function damagedAt(table: string, path: string): Buffer {
  const db = new DatabaseSync(path, { readOnly: true });
  const page = db.prepare('SELECT rootpage FROM sqlite_schema WHERE name = ?').get(table)![
    'rootpage'
  ] as number;
  db.close();
  return readFileSync(path).fill(0x41, (page - 1) * 4096, page * 4096);
}
const verify = () =>
  verifyLedgerFile(join(dataDir, 'ledger.sqlite'), { vault: new Vault(master), signingKeys });

interface Acknowledged {
  readonly name: string;
  readonly decision: unknown;
  readonly receipt: string;
}

function startChild(batch = 20): {
  readonly child: ChildProcessWithoutNullStreams;
  readonly lines: AsyncIterableIterator<string>;
} {
  const file = fileURLToPath(new URL('./crash-child.ts', import.meta.url));
  const child = spawn(process.execPath, [
    '--conditions=doorbuster-source',
    file,
    dataDir,
    keyFile,
    String(batch),
  ]);
  children.push(child);
  return { child, lines: createInterface({ input: child.stdout })[Symbol.asyncIterator]() };
}

/** Kills once `kill` lines were read; gives everything that was acknowledged by then. */
async function admitAndKill(kill: number): Promise<Acknowledged[]> {
  const { child, lines } = startChild();
  const seen: string[] = [];
  for (let next = await lines.next(); !next.done; next = await lines.next()) {
    seen.push(next.value);
    if (seen.length === kill) child.kill('SIGKILL');
  }
  return seen.slice(1).flatMap((line) => {
    try {
      return [JSON.parse(line) as Acknowledged];
    } catch {
      return [];
    }
  });
}

describe('kill -9 while admitting', () => {
  it('6, 10, 32: loses nothing that was acknowledged, and every repeat is the same answer', {
    timeout: 120_000,
  }, async () => {
    const all: Acknowledged[] = [];
    for (const kill of [3, 150, 777, 60]) all.push(...(await admitAndKill(kill)));
    expect(all.length).toBeGreaterThan(900);
    const ledger = await open();
    expect(ledger.halted()).toEqual([]);
    for (let i = 0; i < all.length; i += 200) {
      const slice = all.slice(i, i + 200);
      const answers = await ledger.admission.admit(
        'c',
        slice.map(({ name }) => entryOfMember(name)),
      );
      answers.forEach(({ decision, receipt }, j) => {
        expect(decision).toEqual({ ...(slice[j]!.decision as object), repeated: true });
        expect(receipt).toBe(slice[j]!.receipt);
      });
    }
    await ledger.close();
    expect(verify()).toMatchObject({ ok: true, violations: [] });
  });

  it('control: the same audit finds an entry that is gone', { timeout: 60_000 }, async () => {
    const acknowledged = await admitAndKill(300);
    const ledger = await open();
    await ledger.close();
    const db = new DatabaseSync(join(dataDir, 'ledger.sqlite'));
    db.exec('DROP TRIGGER entries_remain; DELETE FROM entries WHERE seq = 100');
    db.close();
    expect(acknowledged.length).toBeGreaterThan(100);
    expect(verify().violations.map((v) => v.invariant)).toContain('I4');
  });
});

describe('start-up', () => {
  it('refuses a second process at once and names the first; a killed one leaves no lock', {
    timeout: 60_000,
  }, async () => {
    const { child, lines } = startChild();
    await lines.next();
    await expect(open()).rejects.toMatchObject({
      code: 'LEDGER_LOCKED',
      message: expect.stringContaining(String(child.pid)),
    });
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('exit', resolve));
    const ledger = await open();
    await expect(open()).rejects.toMatchObject({ code: 'LEDGER_LOCKED' });
    await ledger.close();
  });

  it('takes a WAL torn at its end: the last transactions are whole or not there', {
    timeout: 60_000,
  }, async () => {
    const acknowledged = await admitAndKill(400);
    const wal = join(dataDir, 'ledger.sqlite-wal');
    const { size } = statSync(wal);
    expect(size).toBeGreaterThan(10_000);
    truncateSync(wal, size - 5000);
    rmSync(join(dataDir, 'witness.json'), { force: true });
    const ledger = await open();
    const seq = (await ledger.campaigns.get('c'))!.lane!.seq;
    await ledger.close();
    expect(acknowledged.length).toBeGreaterThan(0);
    expect(seq).toBeGreaterThan(0);
    expect(verify()).toMatchObject({ ok: true });
  });

  it("half an import of a killed process stands in nobody's way: the same codes can be imported again", async () => {
    const codes = ['A', 'B', 'C'].map((code, i) => ({ line: i + 1, code }));
    const stage = async (ledger: SqliteLedger) => {
      const begun = await ledger.imports.begin('c', 'voucher-codes', 'append', operator);
      if (!begun.ok) throw new Error(begun.code);
      expect(await ledger.imports.voucherCodes(begun.value, codes)).toEqual([]);
      return begun.value;
    };
    const killed = await open();
    await killed.campaigns.create('c', definitionOf({ capacity: 3 }), operator);
    await stage(killed);
    // Neither switched in nor given up: a process that ends here leaves the same rows as a killed one.
    await killed.close();
    const ledger = await open();
    const importId = await stage(ledger);
    expect(await ledger.imports.commit(importId)).toEqual({ rows: 3, total: 3 });
    await ledger.close();
    expect(verify()).toMatchObject({ ok: true });
  });

  it('refuses a damaged file, a newer one, and one that is no ledger', async () => {
    const ledger = await open();
    await publish(ledger, 'c', { capacity: 10 });
    await ledger.admission.admit('c', members(300));
    await ledger.close();
    const file = join(dataDir, 'ledger.sqlite');
    copyFileSync(file, join(dataDir, 'good'));
    const bytes = readFileSync(file);
    bytes.fill(0xff, 8192, bytes.length - 4096);
    writeFileSync(file, bytes);
    await expect(open()).rejects.toMatchObject({ code: 'LEDGER_DAMAGED' });
    writeFileSync(file, 'this is no database at all, just some text that is long enough');
    await expect(open()).rejects.toMatchObject({ code: 'LEDGER_DAMAGED' });
    copyFileSync(join(dataDir, 'good'), file);
    const db = new DatabaseSync(file);
    db.exec('PRAGMA user_version = 99');
    db.close();
    await expect(open()).rejects.toMatchObject({ code: 'LEDGER_NEWER' });
  });

  it('reads the file system from the mounts, the longest mount point first', () => {
    const mounts = 'a / ext4 rw\nb /srv nfs4 rw\nc /srv/my\\040disk tmpfs rw\n';
    expect(fileSystemOf('/srv/data', mounts)).toBe('nfs4');
    expect(fileSystemOf('/srv/my disk/x', mounts)).toBe('tmpfs');
    expect(fileSystemOf('/srvdata', mounts)).toBe('ext4');
    expect(fileSystemOf('/x', '')).toBeNull();
  });
});

describe('rollback fence', () => {
  it('halts a lane that shows less than was witnessed, and only that lane', async () => {
    let ledger = await open();
    await publish(ledger, 'c', { capacity: 100 });
    await ledger.admission.admit('c', members(5));
    await ledger.close();
    copyFileSync(join(dataDir, 'ledger.sqlite'), join(dataDir, 'old'));
    ledger = await open();
    await publish(ledger, 'd', { capacity: 5 });
    await ledger.admission.admit('c', members(5, 'late'));
    await ledger.close();
    copyFileSync(join(dataDir, 'old'), join(dataDir, 'ledger.sqlite'));
    ledger = await open();
    expect(
      ledger
        .halted()
        .map((h) => h.campaignId)
        .sort(),
    ).toEqual(['c', 'd']);
    await expect(ledger.admission.admit('c', members(1, 'x'))).rejects.toMatchObject({
      code: 'LEDGER_HALTED',
    });
    const [known, lost] = [members(1)[0]!, members(1, 'late')[0]!];
    expect(await ledger.admission.entryOf('c', known.memberKey)).toMatchObject({ seq: 1 });
    await expect(ledger.admission.entryOf('c', lost.memberKey)).rejects.toMatchObject({
      code: 'LEDGER_HALTED',
    });
    await expect(ledger.campaigns.command('c', { type: 'close' }, operator)).rejects.toMatchObject({
      code: 'LEDGER_HALTED',
    });
    await publish(ledger, 'e', { capacity: 1 });
    expect(await ledger.admission.admit('e', members(1))).toHaveLength(1);
    await ledger.close();
  });

  it('verify tells what was witnessed and is missing, though the older copy is whole in itself', async () => {
    let ledger = await open();
    await publish(ledger, 'c', { capacity: 100 });
    await ledger.close();
    copyFileSync(join(dataDir, 'ledger.sqlite'), join(dataDir, 'old'));
    ledger = await open();
    await ledger.admission.admit('c', members(5));
    await ledger.close();
    expect(verify()).toMatchObject({ ok: true });
    copyFileSync(join(dataDir, 'old'), join(dataDir, 'ledger.sqlite'));
    const report = verify();
    expect(report.ok).toBe(false);
    expect(report.violations).toEqual([
      {
        invariant: 'I2',
        campaignId: 'c',
        detail: expect.stringMatching(/^record \d+ was witnessed, the ledger ends with 1$/),
      },
    ]);
  });

  it.each([
    ['missing', (path: string) => rmSync(path)],
    ['empty', (path: string) => truncateSync(path, 0)],
  ])('a ledger that is %s is not begun anew where one was witnessed', async (_, lose) => {
    const ledger = await open();
    await publish(ledger, 'c', { capacity: 100 });
    await ledger.close();
    lose(join(dataDir, 'ledger.sqlite'));
    await expect(open()).rejects.toMatchObject({ code: 'LEDGER_DAMAGED' });
  });

  it('a witness without lanes and a damaged lock are faults with a name', async () => {
    await (await open()).close();
    writeFileSync(join(dataDir, 'witness.json'), '{"version":1,"lanes":null}');
    await expect(open()).rejects.toMatchObject({ code: 'LEDGER_DAMAGED' });
    rmSync(join(dataDir, 'witness.json'));
    writeFileSync(join(dataDir, 'lock.sqlite'), 'no database'.repeat(500));
    await expect(open()).rejects.toMatchObject({ code: 'LEDGER_UNSAFE' });
  });

  it('verify of a damaged file is a fault with a name', async () => {
    const ledger = await open();
    await publish(ledger, 'c', { capacity: 100 });
    await ledger.close();
    const path = join(dataDir, 'ledger.sqlite');
    // The schema's page but for the file's header, which alone is read when the file is opened.
    writeFileSync(path, readFileSync(path).fill(0x41, 100, 4096));
    expect(() => verify()).toThrow(expect.objectContaining({ code: 'LEDGER_DAMAGED' }));
  });

  it("another installation's secrets open nothing: a winner would be a new member", async () => {
    const ledger = await open();
    await publish(ledger, 'c', { capacity: 100 });
    const backup = join(dataDir, 'backup.sqlite');
    await ledger.backup(backup);
    await ledger.close();
    const foreign = new Uint8Array(32).fill(9);
    const refusal = { code: 'SECRETS_MISSING' };
    const opening = openSqliteLedger({
      dataDir,
      master: foreign,
      signingKeys,
      log: silentLog,
      fatal: () => undefined,
    });
    await expect(opening).rejects.toMatchObject(refusal);
    const verifying = () =>
      verifyLedgerFile(join(dataDir, 'ledger.sqlite'), { vault: new Vault(foreign), signingKeys });
    expect(verifying).toThrow(expect.objectContaining(refusal));
    const restoring = () => restoreLedgerFile(backup, dataDir, { master: foreign, signingKeys });
    expect(restoring).toThrow(expect.objectContaining(refusal));
    await (await open()).close();
  });

  it('a damaged backup replaces nothing', async () => {
    const ledger = await open();
    await publish(ledger, 'c', { capacity: 100 });
    await ledger.admission.admit('c', members(5));
    const backup = join(dataDir, 'backup.sqlite');
    await ledger.backup(backup);
    await ledger.close();
    const whole = readFileSync(backup);
    // A reader's traces aside.
    const files = () =>
      readdirSync(dataDir)
        .filter((name) => !/-(wal|shm)$/.test(name))
        .toSorted();
    const before = files();
    // The entries alone: that the file is a ledger of this installation can still be read.
    writeFileSync(backup, damagedAt('entries', backup));
    const restoring = () => restoreLedgerFile(backup, dataDir, { master, signingKeys });
    expect(restoring).toThrow(expect.objectContaining({ code: 'LEDGER_DAMAGED' }));
    expect(files()).toEqual(before);
    const again = await open();
    expect((await again.campaigns.get('c'))!.lane).toMatchObject({ epoch: 1, seq: 5 });
    await again.close();
    writeFileSync(backup, whole);
    expect(restoring()).toEqual(['c']);
  });

  it('a restore raises the epoch, keeps the old ledger, and goes on', async () => {
    let ledger = await open();
    await publish(ledger, 'c', { capacity: 100 });
    const [first] = await ledger.admission.admit('c', members(5));
    const backup = join(dataDir, 'backup.sqlite');
    await ledger.backup(backup);
    await ledger.admission.admit('c', members(5, 'lost'));
    await ledger.close();
    expect(() => backupLedgerFile(join(dataDir, 'ledger.sqlite'), backup)).toThrow('exists');
    expect(restoreLedgerFile(backup, dataDir, { master, signingKeys })).toEqual(['c']);
    expect(existsSync(join(dataDir, 'ledger.sqlite.before-restore-1'))).toBe(true);
    ledger = await open();
    expect(ledger.halted()).toEqual([]);
    expect((await ledger.campaigns.get('c'))!.lane).toMatchObject({ epoch: 2, seq: 5 });
    expect((await ledger.admission.admit('c', members(1)))[0]).toMatchObject({
      decision: { seq: 1, repeated: true },
      receipt: first!.receipt,
    });
    expect((await ledger.admission.admit('c', [entryOfMember('new')]))[0]).toMatchObject({
      decision: { verdict: 'won', seq: 6 },
    });
    await ledger.close();
    expect(verify()).toMatchObject({ ok: true });
    expect(restoreLedgerFile(backup, dataDir, { master, signingKeys })).toEqual(['c']);
    const again = await open();
    expect((await again.campaigns.get('c'))!.lane).toMatchObject({ epoch: 3, seq: 5 });
    await again.close();
  });
});
