// Wrong places to start in: each ends with a documented exit code and a message that says what to do, and nothing that was acknowledged is lost.
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { Crowd, range } from './testing/crowd.ts';
import { Installation } from './testing/installation.ts';
import { exportChain, verified } from './testing/judge.ts';
import { runCommand, until } from './testing/process.ts';

const endings: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end();
});

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'start-up-'));
  endings.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A memory file system of this size, or why there is none. */
function mountTmpfs(options: string): string | null {
  const path = folder();
  if (process.getuid?.() !== 0) return null;
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'none', path]).status !== 0) return null;
  endings.push(() => void spawnSync('umount', ['-l', path]));
  return path;
}

const serve = (dataDir: string, ...args: string[]) =>
  runCommand(['serve', '--json', '--port', '0', '--data', dataDir, ...args]);

const noMount = 'needs root, to mount a small memory file system';

describe('serve refuses', () => {
  it('a port that is taken: 3 PORT_BUSY, and the data directory is left usable', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    endings.push(() => void taken.close());
    const { port } = taken.address() as AddressInfo;
    const data = join(folder(), 'data');
    const { code, json } = await runCommand([
      'serve',
      '--json',
      '--port',
      String(port),
      '--data',
      data,
      '--allow-volatile',
    ]);
    expect({ code, json }).toMatchObject({ code: 3, json: { code: 'PORT_BUSY' } });
    expect(String(json?.error)).toContain(String(port));
    expect((await runCommand(['verify', '--json', '--data', data])).code).toBe(0);
  });

  it('a second process on the same data: 3 LEDGER_LOCKED at once, and the first serves on', async () => {
    const shop = await Installation.start();
    endings.push(() => shop.stop());
    const campaign = await shop.seed({ id: 'held', members: 2, units: 2 });
    await shop.opened(campaign);
    const crowd = new Crowd(shop, campaign.id);
    expect((await crowd.insist(0)).status).toBe(201);
    const { code, json } = await serve(shop.dataDir, '--allow-volatile');
    expect({ code, json }).toMatchObject({ code: 3, json: { code: 'LEDGER_LOCKED' } });
    expect((await crowd.insist(0)).body).toMatchObject({ seq: 1, repeated: true });
    expect((await crowd.insist(1)).status).toBe(201);
    await crowd.close();
  });

  it('memory that a power cut empties, unless it is allowed: 3 LEDGER_UNSAFE', async (test) => {
    const memory = mountTmpfs('size=64m');
    if (memory === null) return test.skip(noMount);
    const { code, json } = await serve(join(memory, 'data'));
    expect({ code, json }).toMatchObject({ code: 3, json: { code: 'LEDGER_UNSAFE' } });
    expect(String(json?.error)).toContain('--allow-volatile');
  });

  it('a data directory that cannot be written: 3 LEDGER_UNSAFE', async (test) => {
    const readOnly = mountTmpfs('ro,size=1m');
    if (readOnly === null) return test.skip(noMount);
    for (const path of [readOnly, join(readOnly, 'data')])
      expect(await serve(path, '--allow-volatile')).toMatchObject({
        code: 3,
        json: { code: 'LEDGER_UNSAFE' },
      });
    const file = join(folder(), 'file');
    writeFileSync(file, '');
    expect(await serve(join(file, 'data'))).toMatchObject({ code: 3, json: { code: 'LEDGER_UNSAFE' } });
  });

  it('a configuration with faults: 3 CONFIG_INVALID, all of them at once', async () => {
    const file = join(folder(), 'doorbuster.yaml');
    writeFileSync(
      file,
      'colour: red\nlimits: {waitingEntries: 0}\nmessengers: {post: {type: pigeon}}\nhost: 0.0.0.0\n',
    );
    const { code, json } = await serve(join(folder(), 'data'), '--config', file);
    expect({ code, json }).toMatchObject({ code: 3, json: { code: 'CONFIG_INVALID' } });
    const said = JSON.stringify(json?.faults);
    for (const word of ['colour', 'waitingEntries', 'post']) expect(said).toContain(word);
    writeFileSync(file, 'limits: [1,\n');
    expect((await serve(join(folder(), 'data'), '--config', file)).code).toBe(3);
    const variable = await runCommand(['serve', '--json', '--port', '0', '--data', join(folder(), 'data')], {
      env: { DOORBUSTER_COLOUR: 'red' },
    });
    expect(variable).toMatchObject({ code: 3, json: { code: 'CONFIG_INVALID' } });
  });

  it('data without its secrets: 3 SECRETS_MISSING, and none are made up; a damaged ledger: 6', async () => {
    const shop = await Installation.start();
    endings.push(() => shop.stop());
    const campaign = await shop.seed({ id: 'sealed', members: 1, units: 1 });
    await shop.opened(campaign);
    const crowd = new Crowd(shop, campaign.id);
    expect((await crowd.insist(0)).status).toBe(201);
    expect(await shop.drain()).toBe(0);
    const secrets = join(shop.dataDir, 'secrets.json');
    renameSync(secrets, `${secrets}.away`);
    expect(await serve(shop.dataDir, '--allow-volatile')).toMatchObject({
      code: 3,
      json: { code: 'SECRETS_MISSING' },
    });
    expect(existsSync(secrets)).toBe(false);
    renameSync(`${secrets}.away`, secrets);
    expect(await verified(shop)).toEqual([]);
    writeFileSync(join(shop.dataDir, 'ledger.sqlite'), 'this is no ledger'.repeat(1_000));
    expect((await serve(shop.dataDir, '--allow-volatile')).code).toBe(6);
    await crowd.close();
  });
});

describe('a disk that fills up', () => {
  it('while entries come in: 503 with Retry-After, nothing acknowledged is lost, and it goes on by itself when there is room', async (test) => {
    const disk = mountTmpfs('size=24m');
    if (disk === null) return test.skip(noMount);
    const shop = await Installation.start({ dataDir: join(disk, 'data') });
    endings.push(() => shop.stop());
    const campaign = await shop.seed({ id: 'full', members: 2_000, units: 2_000 });
    await shop.opened(campaign);
    const crowd = new Crowd(shop, campaign.id, { connections: 16 });
    await crowd.each(range(50), 16, (member) => crowd.insist(member));
    const filler = join(disk, 'filler');
    fill(disk, filler);
    let next = 50;
    await until('the disk is full for the ledger', async () => {
      await Promise.all(range(16).map((i) => crowd.enter(next + i)));
      next += 16;
      return (crowd.statuses['503'] ?? 0) > 500;
    });
    expect(Object.keys(crowd.statuses).filter((status) => !['200', '201', '503'].includes(status))).toEqual(
      [],
    );
    rmSync(filler);
    await until('room again', async () => (await crowd.enter(1_999))?.status === 201 || null);
    for (const member of range(50))
      expect((await crowd.insist(member)).body).toMatchObject({ repeated: true });
    const told = new Set(crowd.answers.filter(({ status }) => status === 201).map(({ member }) => member));
    const { records, faults } = await exportChain(shop, campaign.id);
    expect(records.filter(({ type }) => type === 'ENTRY').length).toBeGreaterThanOrEqual(told.size);
    for (const member of told) expect((await crowd.enter(member))?.status).toBe(200);
    expect([...faults, ...crowd.faults, ...(await verified(shop))]).toEqual([]);
    expect(existsSync(join(shop.dataDir, 'ledger.sqlite'))).toBe(true);
    await crowd.close();
  });

  it('before it starts: a plain refusal, and the data is as it was', async (test) => {
    const disk = mountTmpfs('size=8m');
    if (disk === null) return test.skip(noMount);
    mkdirSync(join(disk, 'data'));
    fill(disk, join(disk, 'filler'));
    const { code, json, stderr } = await serve(join(disk, 'data'), '--allow-volatile');
    expect({ code, json, stderr }).toMatchObject({ code: 3, json: { code: 'LEDGER_UNSAFE' } });
    rmSync(join(disk, 'filler'));
    const shop = await Installation.start({ dataDir: join(disk, 'data') });
    endings.push(() => shop.stop());
    expect(await shop.status('none')).toMatchObject({ code: 'CAMPAIGN_UNKNOWN' });
  });
});

/** Takes all room but a few pages. */
function fill(disk: string, filler: string): void {
  const { bavail, bsize } = statfsSync(disk);
  try {
    writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize - 64 * 1024)));
    for (;;) appendFileSync(filler, Buffer.alloc(4_096));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}
