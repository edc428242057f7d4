// What `npm run -s evidence` keeps of a run, and that it keeps nothing of a failed one.

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { main, type Recorded } from './evidence.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'doorbuster-evidence-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('keeps the last line of the harness with the command, the commit and the machine', async () => {
  expect(await main(['demo', '--entrants', '60', '--units', '5'], folder)).toBe(0);
  const kept = JSON.parse(readFileSync(join(folder, 'demo.json'), 'utf8')) as Recorded;
  expect(kept.command).toBe('npm run -s demo -- --entrants 60 --units 5 --json');
  expect(kept.commit).toMatch(/^([0-9a-f]{10,}|unknown)$/);
  expect(kept.machine.cores).toBeGreaterThan(0);
  expect(kept.result).toMatchObject({ entrants: 60, units: 5, oversold: 0 });
});

test('keeps nothing of a run that failed, and knows its harnesses by name', async () => {
  expect(await main(['demo', '--entrants', 'many'], folder)).toBe(2);
  expect(await main(['weather'], folder)).toBe(2);
  expect(existsSync(join(folder, 'demo.json'))).toBe(false);
});
