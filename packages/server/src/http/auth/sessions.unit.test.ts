import { createManualClock } from '@doorbuster/messaging/conformance';
import { describe, expect, it } from 'vitest';
import { createSessions } from './sessions.ts';

const memberKey = 'ab'.repeat(16);
const key = (byte: number) => new Uint8Array(32).fill(byte);

function made(keys = [{ kid: 's1', key: key(1) }]) {
  const clock = createManualClock();
  return { clock, sessions: createSessions(keys, 60, clock) };
}

describe('member sessions', () => {
  it('are read back in their campaign until they end', () => {
    const { clock, sessions } = made();
    const { session, expiresAt } = sessions.issue('gift', memberKey);
    expect(expiresAt).toBe(clock.now() + 3_600_000);
    expect(sessions.read('gift', session)).toEqual({ memberKey, expiresAt });
    clock.advance(3_599_999);
    expect(sessions.read('gift', session)).not.toBeNull();
    clock.advance(1);
    expect(sessions.read('gift', session)).toBeNull();
  });

  it('are worth nothing in another campaign', () => {
    const { sessions } = made();
    expect(sessions.read('other', sessions.issue('gift', memberKey).session)).toBeNull();
  });

  it('are refused when any part is altered', () => {
    const { sessions } = made();
    const parts = sessions.issue('gift', memberKey).session.split('.');
    const altered = [
      ['s2', parts[1], parts[2], parts[3]],
      [parts[0], 'zzzzzzzzz', parts[2], parts[3]],
      [parts[0], parts[1], 'cd'.repeat(16), parts[3]],
      [parts[0], parts[1], parts[2], `${parts[3]!.slice(0, -4)}AAAA`],
      [parts[0], parts[1], parts[2], ''],
      [parts[0], parts[1], parts[2]],
      [...parts, 'more'],
      [parts[0], parts[1], parts[2], `${parts[3]} !`],
      [parts[0], parts[1], parts[2], `${parts[3]}!`],
      [parts[0], parts[1], parts[2], `!${parts[3]!.slice(1)}`],
    ];
    for (const session of altered) expect(sessions.read('gift', session.join('.'))).toBeNull();
    for (const session of ['', '...', 'x'.repeat(100_000), '\u0000.\u0000.\u0000.\u0000'])
      expect(sessions.read('gift', session)).toBeNull();
  });

  it('outlive a rotation as long as their key is kept', () => {
    const { sessions, clock } = made();
    const { session } = sessions.issue('gift', memberKey);
    const rotated = createSessions(
      [
        { kid: 's2', key: key(2) },
        { kid: 's1', key: key(1) },
      ],
      60,
      clock,
    );
    expect(rotated.read('gift', session)).not.toBeNull();
    expect(rotated.issue('gift', memberKey).session).toMatch(/^s2\./);
    expect(createSessions([{ kid: 's2', key: key(2) }], 60, clock).read('gift', session)).toBeNull();
  });
});
