import { spawn } from 'node:child_process';
import { createHash, sign, verify } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { OperationalError } from './errors.ts';
import { openSecrets, rotateSecrets } from './secrets.ts';

const folders: string[] = [];
let file = '';
beforeEach(() => {
  const folder = mkdtempSync(join(tmpdir(), 'doorbuster-secrets-'));
  folders.push(folder);
  file = join(folder, 'data', 'secrets.json');
});
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

const dayMs = 86_400_000;
const start = 1_800_000_000_000;
const make = () => openSecrets(file, start, true).secrets;
const open = () => openSecrets(file, start, false).secrets;
const hashOfFile = () => createHash('sha256').update(readFileSync(file)).digest('hex');

function refusalOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof OperationalError && error.code === 'SECRETS_MISSING') return error.message;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('the secrets file', () => {
  it('is made once, for its owner alone, and read again the same', () => {
    const first = openSecrets(file, start, true);
    expect(first.created).toBe(true);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(statSync(join(file, '..')).mode & 0o777).toBe(0o700);
    expect(readdirSync(join(file, '..'))).toEqual(['secrets.json']);
    const again = openSecrets(file, start + 1, true);
    expect(again.created).toBe(false);
    expect(Buffer.from(again.secrets.master)).toEqual(Buffer.from(first.secrets.master));
    expect(again.secrets.tokenSecret).toBe(first.secrets.tokenSecret);
    expect(again.secrets.signing[0]?.kid).toBe(first.secrets.signing[0]?.kid);
  });

  it('is never made where there is a ledger that was sealed with another', () => {
    expect(refusalOf(open)).toContain('there is a ledger');
    expect(existsSync(file)).toBe(false);
  });

  it.each([0o640, 0o604, 0o660])('is refused while others can read it (%o)', (mode) => {
    make();
    chmodSync(file, mode);
    expect(refusalOf(open)).toContain('chmod 600');
    chmodSync(file, 0o600);
    expect(open().sessions).toHaveLength(1);
  });

  it('is whole or refused: nothing is made up for a part that is missing', () => {
    make();
    const whole = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
    const broken: readonly unknown[] = [
      ...Object.keys(whole).map((key) =>
        Object.fromEntries(Object.entries(whole).filter(([k]) => k !== key)),
      ),
      { ...whole, master: 'c2hvcnQ' },
      { ...whole, sessions: [] },
      { ...whole, sessions: [{ kid: 's1', key: 'c2hvcnQ', validFrom: 0 }] },
      { ...whole, signing: [{ kid: 'k1', privateKey: 'no key', validFrom: 0, validUntil: null }] },
      { ...whole, tokenSecret: '' },
      { ...whole, version: 2 },
      null,
      [],
    ];
    for (const value of broken) {
      writeFileSync(file, JSON.stringify(value));
      expect(refusalOf(open), JSON.stringify(value)).toContain('is not a secrets file');
      // A file that cannot be read is not written over either.
      const before = hashOfFile();
      expect(refusalOf(() => rotateSecrets(file, 'sessions', start))).toContain('is not a secrets file');
      expect(hashOfFile()).toBe(before);
    }
  });

  it('is one and the same for processes that make it at the same time', async () => {
    const program = `
      const { openSecrets } = await import(${JSON.stringify(new URL('./secrets.ts', import.meta.url).href)});
      await new Promise((start) => process.stdin.once('data', start));
      const { secrets, created } = openSecrets(${JSON.stringify(file)}, ${start}, true);
      console.log(JSON.stringify([created, secrets.tokenSecret]));
      process.exit();`;
    const children = Array.from({ length: 4 }, () =>
      spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['pipe', 'pipe', 'inherit'] }),
    );
    const answers = children.map((child) => text(child.stdout));
    for (const child of children) child.stdin.write('now');
    const made = (await Promise.all(answers)).map((line) => JSON.parse(line) as [boolean, string]);
    expect(made.filter(([created]) => created)).toHaveLength(1);
    expect(new Set(made.map(([, tokenSecret]) => tokenSecret))).toEqual(new Set([open().tokenSecret]));
    expect(readdirSync(join(file, '..'))).toEqual(['secrets.json']);
  });

  it('survives a draft that a crash left behind', () => {
    make();
    writeFileSync(`${file}.new`, '{"half":');
    rotateSecrets(file, 'token', start);
    expect(open().sessions).toHaveLength(1);
    expect(existsSync(`${file}.new`)).toBe(false);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });
});

describe('rotation', () => {
  it('puts a new signing key in front and keeps the older ones for ever, ended', () => {
    const first = make().signing[0];
    rotateSecrets(file, 'signing', start + dayMs);
    rotateSecrets(file, 'signing', start + 900 * dayMs);
    const keys = open().signing;
    expect(keys.map((key) => key.validUntil)).toEqual([null, start + 900 * dayMs, start + dayMs]);
    expect(keys[2]?.kid).toBe(first?.kid);
    const message = Buffer.from('head');
    const signature = sign(null, message, first!.privateKey);
    expect(verify(null, message, keys[2]!.publicKey, signature)).toBe(true);
    expect(verify(null, message, keys[0]!.publicKey, signature)).toBe(false);
  });

  it('keeps a session key for two weeks after it was replaced, however old it is', () => {
    const first = make().sessions[0]?.kid;
    rotateSecrets(file, 'sessions', start + 30 * dayMs);
    const second = open().sessions[0]?.kid;
    // The first was in use until a day ago: its last sessions live for up to a week.
    rotateSecrets(file, 'sessions', start + 31 * dayMs);
    expect(
      open()
        .sessions.map((key) => key.kid)
        .slice(1),
    ).toEqual([second, first]);
    rotateSecrets(file, 'sessions', start + 44 * dayMs);
    expect(open().sessions.map((key) => key.kid)).not.toContain(first);
    expect(open().sessions.map((key) => key.kid)).toContain(second);
  });

  it('changes what was asked and nothing else', () => {
    const before = make();
    rotateSecrets(file, 'token', start);
    const after = open();
    expect(after.tokenSecret).not.toBe(before.tokenSecret);
    expect(Buffer.from(after.master)).toEqual(Buffer.from(before.master));
    expect(after.sessions.map((key) => key.kid)).toEqual(before.sessions.map((key) => key.kid));
    expect(after.signing.map((key) => key.kid)).toEqual(before.signing.map((key) => key.kid));
  });

  it('says that there is nothing to rotate', () => {
    expect(refusalOf(() => rotateSecrets(file, 'token', start))).toContain('is not a secrets file');
    expect(existsSync(file)).toBe(false);
  });
});
