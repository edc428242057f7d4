// `npm run test:engines` counts per engine, tells what does not apply from what passed, and is red for everything that did not run. In a tree
// of its own with planted suites.

import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
let tree = '';

function plant(engineFile: string, text: string): void {
  const path = join(tree, 'packages/messaging/src/engines', `${engineFile}.conformance.int.test.ts`);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `import { describe, expect, it } from 'vitest';\n${text}\n`);
}

beforeAll(() => {
  tree = mkdtempSync(join(tmpdir(), 'doorbuster-engines-'));
  for (const part of ['scripts', 'vitest.config.ts', 'package.json'])
    cpSync(join(root, part), join(tree, part), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'));
  plant('embedded/engine', "it('holds', () => expect(1).toBe(1));");
  plant('redis/engine', "it('holds', () => {}); it('breaks', () => expect(1).toBe(2));");
  plant(
    'redis-pubsub/engine',
    `import { registerCases } from '@doorbuster/messaging/conformance';
    const run = async () => {};
    registerCases(it, [
      { name: 'it can', notApplicable: undefined, run },
      { name: 'it cannot', notApplicable: 'Pub/Sub keeps nothing', run: () => Promise.reject(new Error('run all the same')) },
    ]);`,
  );
  plant('kafka/engine', "describe.skip('not run: KAFKA_URL is not set', () => it('holds', () => {}));");
  plant('redis-lists/engine', "it('holds', () => expect(1).toBe(1));");
  plant('rabbitmq/engine', "throw new Error('does not load');");
});
afterAll(() => rmSync(tree, { recursive: true, force: true }));

function run(...names: string[]): { status: number | null; last: string; stderr: string } {
  const args = ['scripts/test-engines.ts', '--json', ...names];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: tree, encoding: 'utf8' });
  return { status, last: stdout.trimEnd().split('\n').at(-1) ?? '', stderr };
}

describe('npm run test:engines', () => {
  it('is green for what passed, and names what does not apply with its reason', () => {
    const { status, last } = run('embedded', 'redis-pubsub');
    expect(JSON.parse(last)).toEqual({
      engines: {
        embedded: { passed: 1, failed: 0, skipped: 0, notApplicable: [] },
        'redis-pubsub': {
          passed: 1,
          failed: 0,
          skipped: 0,
          notApplicable: [{ name: 'it cannot', reason: 'Pub/Sub keeps nothing' }],
        },
      },
    });
    expect(status).toBe(0);
  });

  it('is red for a failure, for a suite that was skipped, and for one that does not load', () => {
    const { status, last } = run();
    expect(JSON.parse(last)).toMatchObject({
      engines: {
        redis: { passed: 1, failed: 1, skipped: 0 },
        kafka: { passed: 0, failed: 0, skipped: 1 },
        rabbitmq: { passed: 0, failed: 1, skipped: 0 },
      },
    });
    expect(status).toBe(1);
    expect(run('kafka').status).toBe(1);
  });

  it('is red for an engine without a suite', () => {
    rmSync(join(tree, 'packages/messaging/src/engines/kafka'), { recursive: true });
    const { status, stderr } = run();
    expect(stderr).toMatch(/^kafka: no conformance file/);
    expect(status).toBe(1);
    expect(run('kafka')).toMatchObject({ status: 2, last: '' });
  });
});
