/** Options that are there as `undefined`, as a configuration without a value gives them, keep their defaults: in the function, and in everything that takes options. */
import { describe, expect, it } from 'vitest';
import { createManualClock } from './conformance/manual-clock.ts';
import { createRelay, type RelayOptions } from './relay.ts';
import { type CircuitBreakerOptions, createCircuitBreaker } from './resilience/circuit-breaker.ts';
import { withDefaults } from './with-defaults.ts';

interface Options {
  readonly name: string;
  readonly size?: number;
  readonly label?: string | undefined;
}

describe('withDefaults', () => {
  it('keeps the default of what is undefined, and every value that is given', () => {
    const given: Options = { name: 'a', label: undefined };
    expect(withDefaults(given, { size: 5, label: 'none' })).toEqual({ name: 'a', size: 5, label: 'none' });
    const empty: Options = { name: 'b', size: 0, label: '' };
    expect(withDefaults(empty, { size: 5, label: 'none' })).toEqual(empty);
  });

  it('control: a spread loses the default', () => {
    const given: { readonly size?: number | undefined } = { size: undefined };
    expect({ size: 5, ...given }).toEqual({ size: undefined });
  });
});

describe('an option that is undefined', () => {
  it('does not make a relay look all the time', () => {
    const clock = createManualClock();
    const waits: number[] = [];
    const watched = {
      ...clock,
      setTimer: (ms: number, fn: () => void) => {
        waits.push(ms);
        return clock.setTimer(ms, fn);
      },
    };
    const options = {
      source: { readUnpublished: async () => [], markPublished: async () => {} },
      bus: { forward: async () => [] },
      clock: watched,
      sweepMs: undefined,
    };
    const relay = createRelay(options as unknown as RelayOptions);
    relay.start();
    // The turn of the event loop is no look.
    expect(waits.filter((ms) => ms !== 0)).toEqual([1_000]);
  });

  it('does not take the bounds of a breaker away', async () => {
    const options = { clock: createManualClock(), minimumCalls: 2, openMs: undefined, onChange: undefined };
    const breaker = createCircuitBreaker(options as unknown as CircuitBreakerOptions);
    for (let call = 0; call < 2; call += 1)
      await expect(breaker.run(() => Promise.reject(new Error('down')))).rejects.toThrow('down');
    expect(breaker.view()).toMatchObject({ state: 'open', retryAfterMs: 5_000 });
  });
});
