/** Joining while the group has no coordinator, with the client's joining replaced: what is tried again, for how long, and what is not. */
import { Consumer, MultipleErrors, ProtocolError } from '@platformatic/kafka';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Clock } from '../../clock.ts';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { Membership } from './membership.ts';
import { settingsOf } from './options.ts';

const settings = settingsOf({ url: 'kafka://127.0.0.1:1', requestTimeoutMs: 2_000 });

/** Each wait is over at the next turn of the event loop, and the clock has moved by it. */
function rushingClock(): Clock {
  const manual = createManualClock();
  return {
    ...manual,
    setTimer(ms, fn) {
      setImmediate(() => manual.advance(ms));
      return manual.setTimer(ms, fn);
    },
  };
}

/** As the client gives it when its own tries are used up. */
const failed = (id: string): Error =>
  new MultipleErrors('findGroupCoordinator failed 4 times.', [
    new MultipleErrors('Received response with error', [new ProtocolError(id as never)]),
  ]);

describe('joining a group whose coordinator is away', () => {
  const clock = rushingClock();
  const trouble: Error[] = [];
  let answers: (Error | undefined)[] = [];
  let tries = 0;

  beforeEach(() => {
    tries = 0;
    trouble.length = 0;
    vi.spyOn(Consumer.prototype, 'joinGroup').mockImplementation((async () => {
      tries += 1;
      const answer = answers.length > 1 ? answers.shift() : answers[0];
      if (answer) throw answer;
    }) as never);
    vi.spyOn(Consumer.prototype, 'leaveGroup').mockImplementation((async () => {}) as never);
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });

  const membership = (): Membership =>
    new Membership({
      settings,
      clock,
      group: 'g',
      topic: 't',
      beforeRejoin: async () => {},
      onAssigned: () => {},
      holderOf: async () => undefined,
      onTrouble: (error) => trouble.push(error),
    });

  it.each(['COORDINATOR_NOT_AVAILABLE', 'COORDINATOR_LOAD_IN_PROGRESS', 'NOT_COORDINATOR'])(
    'is tried again on %s until it is there',
    async (id) => {
      answers = [failed(id), failed(id), failed(id), undefined];
      await membership().join();
      expect(tries).toBe(4);
    },
  );

  it('is given up when a request may take no longer, with the reason', async () => {
    answers = [failed('COORDINATOR_NOT_AVAILABLE')];
    await expect(membership().join()).rejects.toMatchObject({
      code: 'DB_MSG_ENGINE_UNREACHABLE',
      message: expect.stringContaining('coordinator is not available'),
    });
    // At once, and every 0.2 s of two seconds.
    expect(tries).toBe(11);
  });

  it.each(['GROUP_AUTHORIZATION_FAILED', 'INCONSISTENT_GROUP_PROTOCOL'])(
    'what waiting does not help is not tried again: %s',
    async (id) => {
      answers = [failed(id), undefined];
      await expect(membership().join()).rejects.toThrow('findGroupCoordinator failed');
      expect(tries).toBe(1);
    },
  );

  it('ends with the leaving of whoever wanted to join', async () => {
    answers = [failed('NOT_COORDINATOR')];
    const one = membership();
    const joining = one.join();
    await Promise.all([one.leave(), expect(joining).rejects.toMatchObject({ retryable: true })]);
    expect(tries).toBeLessThan(4);
  });
});
