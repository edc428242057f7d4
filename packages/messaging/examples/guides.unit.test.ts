/** Code in the guides is the code of the examples, which are type-checked and run: every `ts` block has to stand in one of them, word for word but for its imports. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { excerptOf } from '../src/testing/excerpt.ts';

const here = fileURLToPath(new URL('.', import.meta.url));
const docs = fileURLToPath(new URL('../../../docs/messaging/', import.meta.url));
const guides = [
  'README.md',
  'quickstart.md',
  'publishing.md',
  'view.md',
  'migrating.md',
  ...[
    'retries-and-dead-letters',
    'order-per-key',
    'routing',
    'request-reply',
    'long-handlers',
    'resilience',
    'contracts',
    'tracing',
  ].map((name) => `patterns/${name}.md`),
];

const flat = (code: string): string => code.replaceAll(/\s+/g, ' ').trim();
const examples = readdirSync(here)
  .filter((name) => name.endsWith('.ts') && !name.includes('.test.'))
  .map((name) => flat(readFileSync(join(here, name), 'utf8')));
const blocksOf = (text: string, language: string): string[] =>
  [...text.matchAll(/```(\w+)\n([\s\S]*?)```/g)]
    .filter(([, found]) => found === language)
    .map(([, , code]) => code ?? '');

describe.each(guides)('%s', (guide) => {
  const text = readFileSync(join(docs, guide), 'utf8');

  it('shows code of an example only', () => {
    const strange = blocksOf(text, 'ts').filter(
      (code) => !examples.some((one) => one.includes(flat(excerptOf(code)))),
    );
    expect(strange).toEqual([]);
  });

  it('links to files that are there', () => {
    const links = [...text.matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)].map(([, path]) => path as string);
    const dead = links.filter((path) => !existsSync(join(docs, dirname(guide), path)));
    expect(dead).toEqual([]);
  });
});

it('the houses that are drawn have every engine that there is', () => {
  const root = new URL('../../../', import.meta.url);
  const folders = readdirSync(new URL('packages/messaging/src/engines', root)).toSorted();
  for (const page of ['packages/messaging/README.md', 'ARCHITECTURE.md']) {
    const [, drawn = ''] = /engines\/\{([^}]*)\}/.exec(readFileSync(new URL(page, root), 'utf8')) ?? [];
    expect(drawn.split(',').toSorted(), page).toEqual(folders);
  }
});

it('the blocks of the quickstart are whole files: they compile as they are pasted', () => {
  const [channel = '', ...parts] = blocksOf(readFileSync(join(docs, 'quickstart.md'), 'utf8'), 'ts');
  const codeOf = (name: string): string =>
    flat(readFileSync(join(here, name), 'utf8').replaceAll(/\/\*[\s\S]*?\*\//g, ''));
  expect(flat(parts.join('\n'))).toBe(codeOf('one-url.ts'));
  expect(codeOf('channels.ts').startsWith(flat(channel))).toBe(true);
});
