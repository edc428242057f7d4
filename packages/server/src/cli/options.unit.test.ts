import { InvalidArgumentError } from 'commander';
import { describe, expect, it } from 'vitest';
import type { Context } from './context.ts';
import { CliError } from './failure.ts';
import { confirmIrreversible, instant, positive, whole } from './options.ts';

/** A context whose terminal answers every question with `typed`, or may not ask. */
const context = (typed: string | null) =>
  ({ terminal: { ask: () => Promise.resolve(typed) } }) as unknown as Context;

describe('numbers', () => {
  it('are whole, in plain digits', () => {
    expect(whole('0')).toBe(0);
    expect(whole('-12')).toBe(-12);
    for (const bad of ['', ' ', '1.5', 'ten', '1e3', '0x10', 'NaN', 'Infinity', '9007199254740993'])
      expect(() => whole(bad), bad).toThrow(InvalidArgumentError);
  });

  it('are positive where they count something', () => {
    expect(positive('1')).toBe(1);
    for (const bad of ['0', '-1']) expect(() => positive(bad)).toThrow(InvalidArgumentError);
  });
});

describe('times', () => {
  it('carry their offset', () => {
    expect(instant('2026-12-01T10:00:00+09:00')).toBe(Date.UTC(2026, 11, 1, 1));
    expect(instant('2026-12-01T01:00Z')).toBe(Date.UTC(2026, 11, 1, 1));
    for (const bad of [
      '',
      '2026-12-01',
      '2026-12-01T10:00:00',
      '2026-13-01T10:00Z',
      'tomorrow',
      '1796083200000',
    ])
      expect(() => instant(bad), bad).toThrow(InvalidArgumentError);
  });
});

describe('the irreversible', () => {
  it('goes on only with the name typed again', async () => {
    await expect(confirmIrreversible(context(null), 'spring', 'spring', 'Final.')).resolves.toBeUndefined();
    await expect(
      confirmIrreversible(context('spring'), 'spring', undefined, 'Final.'),
    ).resolves.toBeUndefined();
  });

  it.each([
    [null, undefined],
    ['sprin', undefined],
    ['', undefined],
    ['spring', 'autumn'],
  ])('stops when %s is typed and %s given', async (typed, given) => {
    const refused = confirmIrreversible(context(typed), 'spring', given, 'Final.');
    await expect(refused).rejects.toBeInstanceOf(CliError);
    await expect(refused).rejects.toMatchObject({ exitCode: 2, remedy: 'Give --confirm=spring.' });
  });
});
