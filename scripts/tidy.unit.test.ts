// The tree keeps the rules of the house, and each rule catches what it is there for: a rule that finds nothing in a file
// made to break it would be no rule.

import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import {
  engineFiles,
  engineFolderFaults,
  faultsOf,
  readTree,
  rules,
  spreadFaults,
  type TidyFile,
} from './tidy.ts';

// This file is full of planted faults and left out.
const files = readTree(fileURLToPath(new URL('..', import.meta.url))).filter(
  (file) => file.path !== 'scripts/tidy.unit.test.ts',
);
const product = 'packages/server/src/http/planted.ts';
const test = 'packages/server/src/http/planted.int.test.ts';
const long = (lines: number): string => 'export const x = 1;\n'.repeat(lines);

/** A file that breaks each rule, and a word the message must hold: the remedy. */
const controls: Readonly<Record<string, readonly (readonly [TidyFile, RegExp])[]>> = {
  'folder-names': [
    [{ path: 'packages/server/src/utils/time.ts', text: '' }, /beside its user/],
    [{ path: 'packages/web/src/shared/a.ts', text: '' }, /beside its user/],
  ],
  'no-barrels': [
    [{ path: product, text: "export * from './a.ts';\n" }, /write the names out/],
    [{ path: 'packages/server/src/http/index.ts', text: '' }, /import the file itself/],
  ],
  header: [[{ path: product, text: long(61) }, /what it is not/]],
  'file-length': [[{ path: product, text: `// A header.\n${long(600)}` }, /split it/]],
  'no-sleep-in-tests': [
    [{ path: test, text: 'await new Promise((resolve) => setTimeout(resolve, 50));\n' }, /wait for a signal/],
    [{ path: test, text: 'await sleep(50);\n' }, /wait for a signal/],
  ],
  'no-unfinished': [[{ path: product, text: `// ${'TO'}${'DO'}: later\n` }, /do it now/]],
  'no-ambient-time': [
    [{ path: product, text: 'const now = Date.now();\n' }, /Clock/],
    [{ path: product, text: 'const now = new Date();\n' }, /Clock/],
    [{ path: product, text: 'const r = Math.random();\n' }, /randomness/],
    [{ path: product, text: 'const id = randomUUID();\n' }, /ids/],
    [{ path: product, text: 'setTimeout(() => flush(), 5);\n' }, /Clock/],
  ],
  'no-spread-of-data': [
    [{ path: product, text: 'found.push(...letters.filter(isMeant));\n' }, /line 1: "...letters.filter" as/],
    [
      { path: product, text: 'const first = 1;\nMath.min(\n  own(first),\n  ...times,\n);\n' },
      /line 2: .*reduce/,
    ],
    [{ path: product, text: 'all.unshift(...(await read()));\n' }, /await read/],
  ],
  glossary: [
    [{ path: product, text: 'const userId = 1;\n' }, /memberKey/],
    [{ path: product, text: 'const inventory = 1;\n' }, /stock/],
    [{ path: product, text: 'const smsChannel = 1;\n' }, /messenger/],
  ],
  'class-names': [[{ path: product, text: 'export class EntryManager {}\n' }, /one noun/]],
  'no-machine-paths': [[{ path: 'docs/a.md', text: `see /${'work'}/main/x\n` }, /relative/]],
  'pattern-promises': [
    [
      { path: 'docs/messaging/patterns/a.md', text: '# A\n\n## What it promises\n' },
      /no "## What it does not promise": say it/,
    ],
  ],
  'engine-folders': [
    [
      { path: 'packages/messaging/src/engines/nats/engine.ts', text: '' },
      /nats\/topology\.ts: missing \(how/,
    ],
    [{ path: 'packages/messaging/src/engines/nats/lanes/view.ts', text: '' }, /nats\/view\.ts: missing/],
  ],
  'no-authorship': [[{ path: 'docs/a.md', text: `written by an ${'A'}${'I'}\n` }, /the product/]],
};

describe.each(rules)('house rule $name', (rule) => {
  it('holds in the whole tree', () => {
    expect(faultsOf(rule, files)).toEqual([]);
  });

  it('catches what breaks it and names the remedy', () => {
    const planted = controls[rule.name] ?? [];
    expect(planted.length).toBeGreaterThan(0);
    for (const [file, remedy] of planted) expect(faultsOf(rule, [file]).join('\n')).toMatch(remedy);
  });

  it('leaves a clean file alone', () => {
    const clean = {
      path: product,
      text: '// Counts entries.\nexport const count = (seq: number): number => seq;\n',
    };
    expect(faultsOf(rule, [clean])).toEqual([]);
  });
});

it('reads the whole tree, not a part of it', () => {
  const paths = files.map((file) => file.path);
  expect(paths).toEqual(
    expect.arrayContaining(['package.json', 'scripts/tidy.ts', 'packages/core/package.json']),
  );
});

describe('a spread into a call', () => {
  const text = 'all.push(...rows);\n';

  it('is let through where its bound is named, and nowhere else', () => {
    expect(spreadFaults({ path: product, text }, { [product]: { rows: 'one page' } })).toEqual([]);
    expect(spreadFaults({ path: product, text }, { 'packages/a.ts': { rows: 'one page' } })).toHaveLength(1);
    expect(spreadFaults({ path: product, text }, { [product]: { lines: 'one page' } })).toHaveLength(2);
  });

  it('is no fault of a test, nor is a list that is made from others', () => {
    expect(spreadFaults({ path: test, text })).toEqual([]);
    expect(spreadFaults({ path: product, text: 'all.push([...rows]); f(max({ ...x }));\n' })).toEqual([]);
  });
});

describe('an engine folder', () => {
  const folder = 'packages/messaging/src/engines/nats/';
  const whole = Object.keys(engineFiles).map((file) => `${folder}${file}`);

  it.each(Object.keys(engineFiles))('is told of when it lacks %s, and of nothing else', (file) => {
    expect(engineFolderFaults(whole)).toEqual([]);
    const faults = engineFolderFaults(whole.filter((path) => path !== `${folder}${file}`));
    expect(faults).toEqual([expect.stringContaining(`${folder}${file}: missing`)]);
  });

  it('may lack what is exempt by its name, and no other folder may', () => {
    const without = whole.filter((path) => !path.endsWith('/view.ts'));
    expect(engineFolderFaults(without, { 'nats/view.ts': 'nothing can be counted' })).toEqual([]);
    expect(engineFolderFaults(without, { 'sqs/view.ts': 'nothing can be counted' })).toHaveLength(1);
  });

  it('is told of an exemption that has lost its reason', () => {
    const faults = engineFolderFaults(whole, { 'nats/view.ts': 'nothing can be counted' });
    expect(faults).toEqual([expect.stringMatching(/view\.ts: is there: take its exemption out/)]);
  });

  it('is described file by file in its page', () => {
    const page = files.find(({ path }) => path === 'docs/internals/engine-folders.md')?.text ?? '';
    const rows = [...page.matchAll(/^\| `([^`]+\.ts)` \|/gm)].map(([, file]) => file);
    expect(rows).toEqual(Object.keys(engineFiles));
  });
});
