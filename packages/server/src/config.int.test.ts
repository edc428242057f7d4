import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { loadConfig, resolveSecret } from './config.ts';
import { OperationalError } from './errors.ts';

const folder = mkdtempSync(join(tmpdir(), 'doorbuster-config-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, text: string): string {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
}
function refusalOf(work: () => unknown): OperationalError {
  try {
    work();
  } catch (error) {
    if (error instanceof OperationalError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

it('reads a file, then the environment, then the flags', () => {
  const file = write('a.yaml', 'port: 1\nhost: 127.0.0.2\nlimits:\n  connections: 7\n');
  const config = loadConfig({ file, environment: { DOORBUSTER_PORT: '2' }, flags: { port: 3 } });
  expect(config).toMatchObject({ port: 3, host: '127.0.0.2', limits: { connections: 7, memberBurst: 20 } });
});

it('takes an empty file as no settings', () => {
  expect(loadConfig({ file: write('empty.yaml', ''), environment: {} }).port).toBe(8080);
});

it.each([
  ['a list', '- port\n'],
  ['broken YAML', 'port: [1\n'],
  ['a key twice', 'port: 1\nport: 2\n'],
])('refuses %s', (_, text) => {
  const error = refusalOf(() => loadConfig({ file: write('bad.yaml', text), environment: {} }));
  expect(error.code).toBe('CONFIG_INVALID');
  expect(error.faults[0]?.pointer).toContain('bad.yaml');
});

it('refuses a file that is not there', () => {
  const error = refusalOf(() => loadConfig({ file: join(folder, 'none.yaml'), environment: {} }));
  expect(error.message).toContain('ENOENT');
});

it('refuses a section that is no mapping, also when the environment reaches into it', () => {
  const file = write('section.yaml', 'limits: 5\n');
  for (const environment of [{}, { DOORBUSTER_LIMITS_CONNECTIONS: '7' }]) {
    const error = refusalOf(() => loadConfig({ file, environment }));
    expect(error.faults.map((fault) => fault.pointer)).toContain('/limits');
  }
});

it('finds a secret in the environment, in a file, or as it is', () => {
  const file = write('secret.txt', 's3cret\n');
  expect(resolveSecret(`file:${file}`, {})).toBe('s3cret');
  expect(resolveSecret('env:SHOP_SECRET', { SHOP_SECRET: 'from env' })).toBe('from env');
  expect(resolveSecret('plain', {})).toBe('plain');
});

it('says which secret is missing, and never shows one', () => {
  expect(refusalOf(() => resolveSecret('env:SHOP_SECRET', {})).message).toContain('SHOP_SECRET');
  expect(refusalOf(() => resolveSecret(`file:${join(folder, 'no')}`, {})).message).toContain(
    'cannot be read',
  );
});
