import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

it('the order saga ships one order, and refunds and releases the other', () => {
  const path = fileURLToPath(new URL('./order-saga.ts', import.meta.url));
  const run = spawnSync(process.execPath, ['--conditions=doorbuster-source', path], {
    encoding: 'utf8',
    timeout: 30_000,
  });
  expect(run.stderr).toBe('');
  const of = (order: string): string[] => run.stdout.split('\n').filter((line) => line.startsWith(order));
  expect(of('A-1')).toEqual(['A-1: reserved', 'A-1: paid', 'A-1: shipped', 'A-1: completed']);
  expect(of('B-2')).toEqual([
    'B-2: reserved',
    'B-2: paid',
    'B-2: refunded',
    'B-2: released',
    'B-2: compensated',
  ]);
});
