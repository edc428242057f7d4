/** What the options refuse: types refuse it already, and JavaScript and a setting that was not set do not. */
import { describe, expect, it } from 'vitest';
import { settingsOf } from './options.ts';

const settings = (options: object) => settingsOf({ ...options, path: 'bus.db' });

describe('the options', () => {
  it.each<object>([
    {},
    { share: true, keepUnsubscribedMs: 0 },
    { keepUnsubscribedMs: Number.POSITIVE_INFINITY, maxMessageBytes: 1 },
  ])('are taken: %j', (options) => {
    expect(settings(options)).toMatchObject(options);
  });

  it.each<[string, unknown]>([
    ['keepUnsubscribedMs', Number.NaN],
    ['keepUnsubscribedMs', -1],
    ['keepUnsubscribedMs', '5000'],
    ['maxMessageBytes', Number.NaN],
    ['maxMessageBytes', -1],
    ['maxMessageBytes', '5000'],
    ['maxMessageBytes', 0],
    ['maxMessageBytes', 1.5],
    ['share', 'false'],
    ['share', 'true'],
    ['share', 1],
    ['share', null],
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
