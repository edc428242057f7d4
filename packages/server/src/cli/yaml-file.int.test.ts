import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { CliError } from './failure.ts';
import { readYamlFile } from './yaml-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'doorbuster-yaml-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(text: string): string {
  const path = join(folder, 'campaign.yaml');
  writeFileSync(path, text);
  return path;
}
function refusalOf(path: string): CliError {
  try {
    readYamlFile(path);
  } catch (error) {
    if (error instanceof CliError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

it('reads the example, and JSON as the YAML that it is', () => {
  const example = fileURLToPath(new URL('../../../../examples/giveaway/campaign.yaml', import.meta.url));
  expect(readYamlFile(example)).toMatchObject({ stock: { capacity: 10 }, reward: { messengers: ['email'] } });
  expect(readYamlFile(file(JSON.stringify({ title: { ko: '쿠폰' } })))).toEqual({ title: { ko: '쿠폰' } });
  expect(readFileSync(example, 'utf8')).toContain('startsAt');
});

it('says the line of every fault', () => {
  const error = refusalOf(file('title:\n  ko: a\n  ko: b\nprize: [1, 2\nstock: 5\n'));
  expect(error.exitCode).toBe(2);
  expect(error.faults.map((fault) => fault.pointer).join(' ')).toMatch(/campaign\.yaml:3/);
  expect(error.faults.length).toBeGreaterThan(1);
});

it('keeps a time a text and does not run tags of other programs', () => {
  const value = readYamlFile(file('startsAt: 2027-01-04T10:00:00+09:00\nrules: yes\n'));
  expect(value).toEqual({ startsAt: '2027-01-04T10:00:00+09:00', rules: 'yes' });
});

it.each([
  ['a list', '- a\n'],
  ['a text', 'hello\n'],
  ['nothing', ''],
  ['two documents', 'a: 1\n---\nb: 2\n'],
])('refuses %s', (_, text) => {
  expect(refusalOf(file(text)).exitCode).toBe(2);
});

it('refuses a file that grows without end', () => {
  const lines = ['a: &a [x, x, x, x, x, x, x, x, x]'];
  for (let i = 1; i < 9; i++) {
    const before = i === 1 ? 'a' : `a${i - 1}`;
    lines.push(`a${i}: &a${i} [${Array(9).fill(`*${before}`).join(', ')}]`);
  }
  const error = refusalOf(file(`${lines.join('\n')}\n`));
  expect(error.exitCode).toBe(2);
  expect(error.message).toContain('aliases');
});

it('refuses an alias of nothing', () => {
  expect(refusalOf(file('a: *nobody\n')).exitCode).toBe(2);
});

it('says that a file cannot be read', () => {
  expect(refusalOf(join(folder, 'none.yaml')).message).toContain('ENOENT');
  expect(refusalOf(folder).message).toContain('EISDIR');
});
