import { createManualClock } from '@doorbuster/messaging/conformance';
import { describe, expect, it } from 'vitest';
import { createMemoryTurnstile } from './turnstile.ts';

function made() {
  const clock = createManualClock();
  return {
    clock,
    turnstile: createMemoryTurnstile(clock, {
      address: { perSecond: 10, burst: 20 },
      member: { perSecond: 1, burst: 3 },
    }),
  };
}

describe('the turnstile', () => {
  it('lets a burst through, then the rate, and says when to come back', () => {
    const { clock, turnstile } = made();
    expect([1, 2, 3].map(() => turnstile.member('m').remaining)).toEqual([2, 1, 0]);
    expect(turnstile.member('m')).toMatchObject({ allowed: false, waitMs: 1_000 });
    clock.advance(999);
    expect(turnstile.member('m').allowed).toBe(false);
    clock.advance(1);
    expect(turnstile.member('m').allowed).toBe(true);
    expect(turnstile.member('m').allowed).toBe(false);
    clock.advance(60_000);
    expect([1, 2, 3, 4].map(() => turnstile.member('m').allowed)).toEqual([true, true, true, false]);
  });

  it('counts members and addresses each for themselves', () => {
    const { turnstile } = made();
    for (let i = 0; i < 20; i += 1) turnstile.address('203.0.113.1');
    expect(turnstile.address('203.0.113.1').allowed).toBe(false);
    expect(turnstile.address('203.0.113.2').allowed).toBe(true);
    expect(turnstile.member('203.0.113.1').allowed).toBe(true);
  });

  it('takes a /64 of IPv6 as one address, however it is written', () => {
    const { turnstile } = made();
    for (let i = 0; i < 20; i += 1) turnstile.address(`2001:db8:1:2::${i.toString(16)}`);
    expect(turnstile.address('2001:db8:1:2:aaaa:bbbb:cccc:dddd').allowed).toBe(false);
    expect(turnstile.address('2001:db8:1:3::1').allowed).toBe(true);
    expect(turnstile.address('::1').allowed).toBe(true);
  });

  it('forgets by generations: memory is bounded, and forgetting only loosens', () => {
    const { turnstile } = made();
    for (let i = 0; i < 4; i += 1) turnstile.member('old');
    for (let i = 0; i < 250_000; i += 1) turnstile.member(`crowd ${i}`);
    expect(turnstile.member('old').allowed).toBe(true);
  });
});
