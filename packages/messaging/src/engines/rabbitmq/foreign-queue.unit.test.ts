/** The words of the broker, as 3.10 says them, and what is taken from them. */
import { describe, expect, it } from 'vitest';
import { durableBy } from './foreign-queue.ts';

const refusal = (code: number, text: string): Error =>
  Object.assign(
    new Error(`Operation failed: QueueDeclare; ${code} (PRECONDITION-FAILED) with message "${text}"`),
    { code },
  );

describe('whether a queue of others is durable', () => {
  it.each<[string, Error, boolean | undefined]>([
    [
      'it is',
      refusal(
        406,
        "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'",
      ),
      true,
    ],
    [
      'it is not, and differs in the time to live only',
      refusal(
        406,
        "PRECONDITION_FAILED - inequivalent arg 'x-expires' for queue 'q' in vhost '/': received the value '0' of type 'byte' but current is none",
      ),
      false,
    ],
    [
      'there is none',
      refusal(
        406,
        "PRECONDITION_FAILED - invalid arg 'x-expires' for queue 'q' in vhost '/': {value_zero,0}",
      ),
      undefined,
    ],
    ['other words', refusal(406, 'PRECONDITION_FAILED - this is not as it was'), undefined],
    ['no right to ask', refusal(403, "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused"), undefined],
  ])('%s', (_, error, expected) => {
    expect(durableBy(error)).toBe(expected);
  });

  it('what is no refusal of the declare is thrown', () => {
    const lost = new Error('Channel closed');
    expect(() => durableBy(lost)).toThrow(lost);
  });
});
