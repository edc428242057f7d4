// Which answers of a remote source are definite: one row each.
import { describe, expect, it } from 'vitest';
import type { JsonAnswer } from './json-call.ts';
import { issueResult } from './provider-protocol.ts';

const answer = (status: number, body: unknown = {}, retryAfterMs?: number): JsonAnswer => ({
  kind: 'answer',
  status,
  body,
  retryAfterMs,
});

describe('issueResult', () => {
  it.each([
    [answer(201, { code: 'C' }), 'issued'],
    [answer(200, { voucher: { code: 'C' } }), 'issued'],
    [answer(200, { nothing: true }), 'unknown'],
    [answer(204, undefined), 'unknown'],
    [answer(500), 'unknown'],
    [answer(502), 'unknown'],
    [answer(503), 'unknown'],
    [answer(408), 'unknown'],
    [answer(409), 'unknown'],
    [answer(410), 'unknown'],
    [answer(302), 'refused'],
    [answer(401), 'refused'],
    [answer(429), 'refused'],
    [answer(422), 'refused'],
    [{ kind: 'unsent', errorCode: 'unreachable', detail: '' }, 'refused'],
    [{ kind: 'unknown', errorCode: 'timeout', detail: '' }, 'unknown'],
  ] as const)('%o is %s', (given, result) => expect(issueResult(given as JsonAnswer).result).toBe(result));

  it('hands on how long the provider wants to be left alone', () => {
    expect(issueResult(answer(429, {}, 3_000))).toMatchObject({ permanent: false, retryAfterMs: 3_000 });
  });
  it('knows what asking again cannot change', () =>
    expect(issueResult(answer(422))).toMatchObject({ permanent: true }));
  it('keeps pin, address and validity', () => {
    expect(
      issueResult(answer(201, { code: 'C', pin: '1', url: 'https://x', validUntil: '2027', more: 1 })),
    ).toEqual({
      result: 'issued',
      voucher: { code: 'C', pin: '1', url: 'https://x', validUntil: '2027' },
    });
  });
});
