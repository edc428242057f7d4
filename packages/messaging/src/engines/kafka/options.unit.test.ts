/** What the options refuse, and that a refusal does not tell the password. */
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { settingsOf } from './options.ts';

describe('the brokers of a Kafka', () => {
  it.each([
    ['kafka://localhost', ['localhost']],
    ['kafka://one.example:9092, two.example:9093/', ['one.example:9092', 'two.example:9093']],
    ['[::1]:9092', ['[::1]:9092']],
  ])('%s', (url, brokers) => {
    expect(settingsOf({ url }).brokers).toEqual(brokers);
  });

  it.each([
    'kafka://user:secret@host:9092',
    'kafka://host:9092,user:secret@other:9092',
    'kafka://user:secret/x@host',
    'kafka://host:secret',
    'kafka://host?password=secret',
  ])('%s is refused, without a word of it', (url) => {
    const refused = errorOf(() => settingsOf({ url }));
    expect(refused).toMatchObject({ code: 'DB_MSG_INVALID_OPTIONS', retryable: false });
    expect(inspect(refused, { depth: 9 })).not.toContain('secret');
  });
});

describe('a number', () => {
  it.each([
    'sessionTimeoutMs',
    'heartbeatMs',
    'revokeGraceMs',
    'requestTimeoutMs',
    'trimEveryMs',
    'lingerMs',
  ])('%s is refused where it is none', (name) => {
    for (const value of [Number.NaN, -1, '500'])
      expect(errorOf(() => settingsOf({ url: 'kafka://localhost', [name]: value }))).toMatchObject({
        code: 'DB_MSG_INVALID_OPTIONS',
        message: expect.stringContaining(name),
      });
  });
});

function errorOf(run: () => unknown): unknown {
  try {
    return run();
  } catch (error) {
    return error;
  }
}
