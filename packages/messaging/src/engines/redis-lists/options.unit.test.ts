/** What the options refuse: types refuse it already, and JavaScript and a setting that was not set do not. */
import { describe, expect, it } from 'vitest';
import { settingsOf } from './options.ts';

const settings = (options: object) => settingsOf({ ...options, url: 'redis://localhost' });

describe('the options', () => {
  it.each<object>([{}, { foreign: 'wrap' }, { foreign: 'refuse', connectTimeoutMs: 1 }])(
    'are taken: %j',
    (options) => {
      expect(settings(options)).toMatchObject(options);
    },
  );

  it.each<[string, unknown]>([
    ['connectTimeoutMs', Number.NaN],
    ['connectTimeoutMs', -1],
    ['connectTimeoutMs', '5000'],
    ['connectTimeoutMs', 0],
    ['maxMessageBytes', Number.NaN],
    ['maxMessageBytes', -1],
    ['maxMessageBytes', '5000'],
    ['maxMessageBytes', 0],
    ['foreign', 'wrapp'],
    ['foreign', 'toString'],
    ['foreign', true],
    ['foreign', null],
  ])('are refused: %s %s', (name, value) => {
    expect(() => settings({ [name]: value })).toThrow(
      expect.objectContaining({ code: 'DB_MSG_INVALID_OPTIONS', message: expect.stringContaining(name) }),
    );
  });

  it('have defaults, also for what is given as undefined', () => {
    const plain = settings({});
    expect(settings(Object.fromEntries(Object.keys(plain).map((name) => [name, undefined])))).toEqual(plain);
  });
});
