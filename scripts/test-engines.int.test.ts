// `npm run test:engines` counts every test per engine, tells what does not apply from what passed, and is red for everything that did not run; its list of
// planted defects is red for one that is missed. In a tree of its own with planted suites.

import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { situations } from './engines/situations.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
let tree = '';

const engineFile = (name: string): string =>
  join(tree, 'packages/messaging/src/engines', `${name}.int.test.ts`);

function plant(name: string, text: string): void {
  const path = engineFile(name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `import { describe, expect, it } from 'vitest';\n${text}\n`);
}

const holds = "it('holds', () => expect(1).toBe(1));";

/** Tests by whose names an engine comes into every situation that it can. */
const allSituations = (engine: string): string =>
  situations
    .filter(({ without }) => without?.[engine] === undefined)
    .map(({ shownBy: [part = ''] }) => `it(${JSON.stringify(`${part}, and so on`)}, () => {});`)
    .join('\n');
const reasons = (engine: string): object =>
  Object.fromEntries(situations.map(({ name, without }) => [name, without?.[engine] ?? 1]));

/** As many controls of one engine; the last of them passes in spite of its defect. */
const controls = (of: string, many: number, missed: boolean): string => `
  import { registerControls } from '@doorbuster/messaging/conformance';
  const pass = async () => {}, fail = async () => { throw new Error('seen'); };
  registerControls(it, '${of}', Array.from({ length: ${many} }, (_, n) => ({
    defect: 'd' + n, caughtBy: 'the case', healthy: pass, defective: ${missed} && n === ${many} - 1 ? pass : fail,
  })));`;

beforeAll(() => {
  tree = mkdtempSync(join(tmpdir(), 'doorbuster-engines-'));
  for (const part of ['scripts', 'vitest.config.ts', 'package.json'])
    cpSync(join(root, part), join(tree, part), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'));
  plant('embedded/engine.conformance', holds);
  plant('embedded/sharing/sharing', allSituations('embedded'));
  plant('embedded/planted-defects', controls('embedded', 3, false));
  plant('embedded/sharing/planted-defects', controls('embedded, shared', 1, false));
  plant('redis/engine.conformance', `${holds} it('breaks', () => expect(1).toBe(2));`);
  plant('redis/planted-defects', controls('redis', 4, true));
  plant(
    'redis-pubsub/broadcast.conformance',
    `import { registerCases } from '@doorbuster/messaging/conformance';
    const run = async () => {};
    registerCases(it, [
      { name: 'it can', notApplicable: undefined, run },
      { name: 'it cannot', notApplicable: 'Pub/Sub keeps nothing', run: () => Promise.reject(new Error('run all the same')) },
    ]);`,
  );
  plant('redis-pubsub/engine', allSituations('broadcast'));
  plant('redis-pubsub/planted-defects', controls('redis-pubsub', 4, false));
  plant('kafka/engine.conformance', holds);
  plant('kafka/cluster', `describe.skip('three brokers (needs java)', () => { ${holds} });`);
  plant('redis-lists/engine.conformance', holds);
  plant('redis-lists/engine', allSituations('redisLists'));
  plant('redis-lists/planted-defects', controls('redis-lists', 4, false));
  plant('rabbitmq/engine.conformance', "throw new Error('does not load');");
});
afterAll(() => rmSync(tree, { recursive: true, force: true }));

function run(...args: string[]): { status: number | null; last: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['scripts/test-engines.ts', '--json', ...args],
    {
      cwd: tree,
      encoding: 'utf8',
      env: { ...process.env, TEST_SERVERS: 'none' },
    },
  );
  return { status, last: stdout.trimEnd().split('\n').at(-1) ?? '', stderr };
}

const inSituations = (engine: string): number =>
  situations.filter(({ without }) => without?.[engine] === undefined).length;
/** As `controls` plants them, all caught. */
const caughtOf = (of: string, many: number): object[] =>
  Array.from({ length: many }, (_, n) => ({ of, defect: `d${n}`, caughtBy: 'the case', caught: true }));
const passed = (many: number) => ({ passed: many, failed: 0, skipped: 0 });

describe('npm run test:engines', () => {
  it('counts every test of an engine, file by file, and names what does not apply with its reason', () => {
    const { status, last } = run('broadcast', 'embedded');
    expect(JSON.parse(last)).toEqual({
      engines: {
        embedded: {
          ...passed(5 + inSituations('embedded')),
          notApplicable: [],
          situations: reasons('embedded'),
          defects: {
            planted: 4,
            caught: 4,
            list: [...caughtOf('embedded', 3), ...caughtOf('embedded, shared', 1)],
          },
          files: {
            'engine.conformance.int.test.ts': passed(1),
            'planted-defects.int.test.ts': passed(3),
            'sharing/planted-defects.int.test.ts': passed(1),
            'sharing/sharing.int.test.ts': passed(inSituations('embedded')),
          },
        },
        broadcast: {
          ...passed(5 + inSituations('broadcast')),
          situations: reasons('broadcast'),
          defects: { planted: 4, caught: 4, list: caughtOf('redis-pubsub', 4) },
          notApplicable: [{ name: 'it cannot', reason: 'Pub/Sub keeps nothing' }],
          files: {
            'broadcast.conformance.int.test.ts': passed(1),
            'engine.int.test.ts': passed(inSituations('broadcast')),
            'planted-defects.int.test.ts': passed(4),
          },
        },
      },
    });
    expect(status).toBe(0);
  });

  it('is red for a failure, for a test that was skipped beside others that passed, and for a file that does not load', () => {
    const { status, last, stderr } = run();
    const { engines } = JSON.parse(last) as { engines: object };
    expect(Object.keys(engines)).toEqual([
      'embedded',
      'rabbitmq',
      'kafka',
      'redis',
      'redisLists',
      'broadcast',
    ]);
    expect(engines).toMatchObject({
      redis: { passed: 4, failed: 2, skipped: 0, defects: { planted: 4, caught: 3 } },
      redisLists: passed(5 + inSituations('redisLists')),
      kafka: { passed: 1, failed: 0, skipped: 1 },
      rabbitmq: { passed: 0, failed: 1, skipped: 0 },
    });
    expect(status).toBe(1);
    expect(stderr).toContain('not run: kafka: cluster.int.test.ts > three brokers (needs java) > holds');
    expect(run('kafka').status).toBe(1);
    expect(run('redis-lists').status, 'by the name of its folder').toBe(0);
  });

  it('is red for an engine that no test brings into a situation any more', () => {
    const lost = 'packages/messaging/src/engines/redis-lists/engine.int.test.ts';
    const text = readFileSync(join(tree, lost), 'utf8');
    writeFileSync(
      join(tree, lost),
      text.replaceAll('an id that is published twice', 'an id that comes again'),
    );
    const { status, last, stderr } = run('redisLists');
    writeFileSync(join(tree, lost), text);
    expect(JSON.parse(last)).toMatchObject({
      engines: { redisLists: { failed: 0, skipped: 0, situations: { duplicates: 0 } } },
    });
    expect(stderr).toContain('no test of it passed: redisLists: duplicates\n');
    expect(status).toBe(1);
  });

  it('is red for a planted defect that escaped, though every test passed, and where too little is planted', () => {
    const passing = 'it(\'redis-lists: the case: catches "d9"\', () => {});';
    plant('redis-lists/own-defects', passing);
    const escaped = run('redisLists');
    rmSync(engineFile('redis-lists/own-defects'));
    const { engines } = JSON.parse(escaped.last) as {
      engines: { redisLists: { failed: number; defects: { list: object[] } } };
    };
    expect(engines.redisLists).toMatchObject({ failed: 0, skipped: 0, defects: { planted: 5, caught: 4 } });
    expect(engines.redisLists.defects.list).toContainEqual({
      of: 'redis-lists',
      defect: 'd9',
      caughtBy: 'the case',
      caught: false,
    });
    expect(escaped.stderr).toContain('planted and not caught: redisLists: "d9", by "the case"\n');
    expect(escaped.status).toBe(1);

    plant('redis-lists/planted-defects', controls('redis-lists', 3, false));
    const few = run('redisLists');
    plant('redis-lists/planted-defects', controls('redis-lists', 4, false));
    expect(JSON.parse(few.last)).toMatchObject({ engines: { redisLists: { failed: 0, skipped: 0 } } });
    expect(few.stderr).toContain('redisLists: fewer than 4 planted defects');
    expect(few.status).toBe(1);
  });

  it('lists what is planted, by engine, and is red for what is missed and where too little is planted', () => {
    const green = run('--defects', 'embedded');
    expect(JSON.parse(green.last)).toMatchObject({
      planted: 4,
      caught: 4,
      engines: { embedded: { planted: 4, caught: 4 } },
      defects: [
        { of: 'embedded', defect: 'd0', caughtBy: 'the case', caught: true, says: 'seen' },
        { of: 'embedded' },
        { of: 'embedded' },
        { of: 'embedded, shared' },
      ],
    });
    expect(green.status).toBe(0);

    const missed = run('--defects', 'redis');
    expect(JSON.parse(missed.last)).toMatchObject({ planted: 4, caught: 3 });
    expect(missed.status).toBe(1);

    plant('redis-pubsub/planted-defects', controls('redis-pubsub', 3, false));
    const few = run('--defects', 'broadcast');
    plant('redis-pubsub/planted-defects', controls('redis-pubsub', 4, false));
    expect(JSON.parse(few.last)).toMatchObject({ planted: 3, caught: 3 });
    expect(few.stderr).toContain('broadcast: fewer than 4 planted defects');
    expect(few.status).toBe(1);

    expect(run('--defects', 'nobody')).toMatchObject({ status: 2, last: '' });
  });

  it('is red for an engine without a conformance suite, whatever else is in its folder', () => {
    rmSync(join(tree, 'packages/messaging/src/engines/kafka/engine.conformance.int.test.ts'));
    const { status, stderr } = run();
    expect(stderr).toMatch(/^kafka: no conformance file/);
    expect(status).toBe(1);
    expect(run('kafka')).toMatchObject({ status: 2, last: '' });
  });
});
