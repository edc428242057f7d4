/** Every quote of a planted defect is found exactly once in the sources as they are, and a lost one is told. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { applied } from './plant.ts';
import { type Planted, planted } from './planted.ts';

const root = new URL('../packages/', import.meta.url);
const defects = Object.entries<Planted>(planted);

it('there are at least 25 planted defects, and each says what goes wrong', () => {
  expect(defects.length).toBeGreaterThanOrEqual(25);
  expect(new Set(defects.map(([, { what }]) => what)).size).toBe(defects.length);
});

it.each(defects)('%s: its quotes are in the sources, once each', (_, { patches }) => {
  const texts = new Map<string, string>();
  for (const patch of patches) {
    const source = texts.get(patch.file) ?? readFileSync(new URL(patch.file, root), 'utf8');
    const outcome = applied(patch, source);
    expect(outcome).toEqual({ text: expect.any(String) });
    const text = 'text' in outcome ? outcome.text : source;
    expect(text).not.toBe(source);
    texts.set(patch.file, text);
  }
});

it('control: a quote that is not there, or there twice, is told', () => {
  const patch = { file: 'core/src/admit.ts', find: /const/, put: '' };
  expect(applied(patch, 'let x;')).toEqual({ fault: 'core/src/admit.ts: /const/ matches 0 times' });
  expect(applied(patch, 'const a; const b;')).toEqual({
    fault: 'core/src/admit.ts: /const/ matches 2 times',
  });
});
