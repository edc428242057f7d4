/** What the options refuse, and that a refusal does not tell the password. */
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { settingsOf } from './options.ts';

describe('the URL of a RabbitMQ', () => {
  it.each([
    'amqp://localhost',
    'amqps://user:secret@host.example:5671/shop',
    'amqp://user:se%2Fcret%40@[::1]:5672/%2Fshop?heartbeat=5',
  ])('%s is taken', (url) => {
    expect(settingsOf({ url }).urls).toEqual([url]);
  });

  it.each([
    'amqp://user:secret/x@host',
    'amqp://user:secret#x@host',
    'amqp://user:secret@host:port',
    'amqp://user:secret%zz@host',
    'amqp://host/%zzsecret',
    'redis://user:secret@host',
    'user:secret@host',
    '',
  ])('%s is refused, without a word of it', (url) => {
    const refused = errorOf(() => settingsOf({ url: ['amqp://localhost', url] }));
    expect(refused).toMatchObject({ code: 'DB_MSG_INVALID_OPTIONS', retryable: false });
    expect(inspect(refused, { depth: 9 })).not.toContain('secret');
  });
});

describe('a number', () => {
  it.each(['partitions', 'keepUnsubscribedMs', 'confirmTimeoutMs', 'maxMessageBytes'])(
    '%s is refused where it is none',
    (name) => {
      for (const value of [Number.NaN, -1, '500'])
        expect(errorOf(() => settingsOf({ url: 'amqp://localhost', [name]: value }))).toMatchObject({
          code: 'DB_MSG_INVALID_OPTIONS',
          message: expect.stringContaining(name),
        });
    },
  );
});

function errorOf(run: () => unknown): unknown {
  try {
    return run();
  } catch (error) {
    return error;
  }
}
