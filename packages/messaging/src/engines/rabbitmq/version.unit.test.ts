/** Which brokers are taken, told apart by what they say of themselves. */
import { describe, expect, it } from 'vitest';
import { judgeServer } from './version.ts';

describe('judgeServer', () => {
  it.each([
    ['RabbitMQ', '3.10.8', 'tried'],
    ['RabbitMQ', '3.10.0-rc.1', 'tried'],
    ['RabbitMQ', '3.13.7', 'tried'],
    ['RabbitMQ', '4.1.0', 'untried'],
    ['LavinMQ', '2.0.0', 'untried'],
    [undefined, undefined, 'untried'],
  ])('%s %s: %s', (product, version, verdict) => {
    expect(judgeServer({ product, version })).toBe(verdict);
  });

  it.each(['3.9.29', '3.8.2', '2.8.7', '0.9.1', '', 'unknown'])('refuses RabbitMQ "%s"', (version) => {
    expect(() => judgeServer({ product: 'RabbitMQ', version })).toThrow(
      expect.objectContaining({ code: 'DB_MSG_ENGINE_UNSAFE', retryable: false }),
    );
  });
});
