/** What the options of an engine take and refuse, the same questions for each: types refuse it already, and JavaScript and a setting that was not set do not. */
import { describe, expect, it } from 'vitest';

export interface OptionCases {
  readonly taken: readonly object[];
  /** Each is tried with what no number may be. */
  readonly numbers: readonly string[];
  /** What else is refused. */
  readonly refused: readonly (readonly [name: string, value: unknown])[];
}

const NO_NUMBERS = [Number.NaN, -1, '5000'];

export function describeOptions(
  settings: (options: object) => object,
  { taken, numbers, refused }: OptionCases,
): void {
  describe('the options', () => {
    it.each([{}, ...taken])('are taken: %j', (options) => {
      expect(settings(options)).toMatchObject(options);
    });

    const bad = numbers.flatMap((name) => NO_NUMBERS.map((value): [string, unknown] => [name, value]));
    it.each([...bad, ...refused])('are refused: %s %s', (name, value) => {
      expect(() => settings({ [name]: value })).toThrow(
        expect.objectContaining({ code: 'DB_MSG_INVALID_OPTIONS', message: expect.stringContaining(name) }),
      );
    });

    it('have defaults, also for what is given as undefined', () => {
      const plain = settings({});
      const unset = Object.fromEntries(Object.keys(plain).map((name) => [name, undefined]));
      expect(settings(unset)).toEqual(plain);
    });
  });
}
