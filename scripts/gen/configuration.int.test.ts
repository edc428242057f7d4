import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { environmentNames, loadConfig } from '../../packages/server/src/config.ts';
import { example, generate } from './configuration.ts';

const folder = mkdtempSync(join(tmpdir(), 'doorbuster-gen-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the page of the configuration', async () => {
  const text = (await generate())[0]?.text ?? '';
  const rows = text.split('\n').filter((line) => line.startsWith('| `'));

  it('has a row for every variable, and says of every setting what it does', () => {
    for (const name of environmentNames().keys()) expect(text).toContain(`| \`${name}\` |`);
    expect(rows.length).toBeGreaterThan(50);
    expect(rows.filter((row) => row.endsWith('|  |'))).toEqual([]);
  });

  it('shows an example that the server takes', () => {
    const file = join(folder, 'doorbuster.yaml');
    writeFileSync(file, example);
    expect(loadConfig({ file, environment: {} }).messengers['email']).toMatchObject({
      port: 587,
      requireTls: true,
    });
  });
});
