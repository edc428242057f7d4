/** A disk that is really full: a small memory file system, where the machine allows mounting one (it needs root); elsewhere the page limit of `group-commit.int.test.ts` stands for it. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '@doorbuster/messaging';
import { afterAll, expect, it } from 'vitest';
import { master, members, publish, signingKeys } from '../../ledger-fixture.ts';
import { openSqliteLedger } from './open.ts';

const point = mkdtempSync(join(tmpdir(), 'full-'));
const mounted = mount();

function mount(): boolean {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', point], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

afterAll(() => {
  if (mounted) execFileSync('umount', ['-l', point]);
  rmSync(point, { recursive: true, force: true });
});

it.skipIf(!mounted)(
  'answers LEDGER_FULL, loses nothing it acknowledged, and goes on when there is room',
  { timeout: 60_000 },
  async () => {
    const failed: Error[] = [];
    const fatal = (error: Error): void => void failed.push(error);
    const ballast = join(point, 'ballast');
    writeFileSync(ballast, Buffer.alloc(3 * 1024 * 1024));
    const options = {
      dataDir: join(point, 'data'),
      master,
      signingKeys: signingKeys(),
      log: silentLog,
      fatal,
    };
    const ledger = await openSqliteLedger({ ...options, allowVolatile: true });
    await publish(ledger, 'c', { capacity: 100_000 });
    let acknowledged = 0;
    let refusal: unknown;
    for (let i = 0; i < 100 && refusal === undefined; i++) {
      try {
        acknowledged += (await ledger.admission.admit('c', members(200, `b${i}-`))).length;
      } catch (error) {
        refusal = error;
      }
    }
    expect(refusal).toMatchObject({ code: 'LEDGER_FULL', retryable: true });
    expect((await ledger.campaigns.get('c'))?.lane?.seq).toBe(acknowledged);
    rmSync(ballast);
    expect(await ledger.admission.admit('c', members(50, 'after'))).toHaveLength(50);
    expect(await ledger.verify()).toMatchObject({ ok: true, entries: acknowledged + 50 });
    await ledger.close();
    expect(failed).toEqual([]);
  },
);
