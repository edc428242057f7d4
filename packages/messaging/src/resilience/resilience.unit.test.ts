import { describe, expect, it } from 'vitest';
import { createManualClock } from '../conformance/manual-clock.ts';
import { createBulkhead } from './bulkhead.ts';
import { type BreakerState, createCircuitBreaker } from './circuit-breaker.ts';
import { createRateCap } from './rate-cap.ts';

const fail = (): never => {
  throw new Error('provider down');
};

describe('rate cap', () => {
  it('spaces takes evenly and tells how long to wait', () => {
    const clock = createManualClock();
    const cap = createRateCap({ clock, permits: 10 });
    expect(cap.tryTake()).toBe(0);
    expect(cap.tryTake()).toBe(100);
    clock.advance(60);
    expect(cap.tryTake()).toBe(40);
    clock.advance(40);
    expect(cap.tryTake()).toBe(0);
  });

  it('never grants more than burst + rate in any time', () => {
    const clock = createManualClock();
    const cap = createRateCap({ clock, permits: 5, burst: 3 });
    let granted = 0;
    for (let ms = 0; ms < 10_000; ms += 7) {
      if (cap.tryTake() === 0) granted += 1;
      clock.advance(7);
    }
    expect(granted).toBeLessThanOrEqual(3 + 50);
    expect(granted).toBeGreaterThanOrEqual(50);
  });

  it('serves waiting callers in order and refuses beyond maxWaitMs', async () => {
    const clock = createManualClock();
    const cap = createRateCap({ clock, permits: 10, maxWaitMs: 250 });
    const served: number[] = [];
    const takes = [1, 2, 3].map((n) => cap.take().then(() => served.push(n)));
    await expect(cap.take()).rejects.toMatchObject({ code: 'DB_MSG_RATE_CAP_FULL', retryAfterMs: 300 });
    clock.advance(200);
    await Promise.all(takes);
    expect(served).toEqual([1, 2, 3]);
  });

  it('grants nothing while backed off', () => {
    const clock = createManualClock();
    const cap = createRateCap({ clock, permits: 10, burst: 5 });
    cap.backOff(2_000);
    expect(cap.tryTake()).toBe(2_000);
    clock.advance(2_000);
    expect(cap.tryTake()).toBe(0);
  });
});

describe('bulkhead', () => {
  it('runs so many at once, queues so many in order, refuses the rest without calling them', async () => {
    const bulkhead = createBulkhead({ concurrency: 2, queue: 2 });
    const ends: (() => void)[] = [];
    const began: number[] = [];
    const call = (n: number): Promise<void> =>
      bulkhead.run(() => {
        began.push(n);
        return new Promise<void>((resolve) => ends.push(resolve));
      });
    const calls = [call(1), call(2), call(3), call(4)];
    await expect(call(5)).rejects.toMatchObject({ code: 'DB_MSG_BULKHEAD_FULL', retryable: true });
    expect(began).toEqual([1, 2]);
    expect(bulkhead.view()).toEqual({ running: 2, waiting: 2, refused: 1 });
    while (began.length < 4 || ends.length > 0) {
      ends.shift()?.();
      await Promise.resolve();
    }
    await Promise.all(calls);
    expect(began).toEqual([1, 2, 3, 4]);
    expect(bulkhead.view()).toMatchObject({ running: 0, waiting: 0 });
  });

  it('frees its place when a call throws', async () => {
    const bulkhead = createBulkhead({ concurrency: 1 });
    await expect(bulkhead.run(fail)).rejects.toThrow('provider down');
    await expect(bulkhead.run(() => 7)).resolves.toBe(7);
  });

  it('is left by whoever gives up in its queue, and hands no place to it', async () => {
    const bulkhead = createBulkhead({ concurrency: 1, queue: 2 });
    const end = Promise.withResolvers<void>();
    const over = new AbortController();
    const began: string[] = [];
    const running = bulkhead.run(() => end.promise);
    const leaving = bulkhead.run(() => began.push('leaving'), over.signal);
    const next = bulkhead.run(() => began.push('next'), over.signal);
    over.abort(new Error('the lease is lost'));
    await expect(leaving).rejects.toThrow('the lease is lost');
    await expect(next).rejects.toThrow('the lease is lost');
    await expect(bulkhead.run(() => 1, over.signal)).rejects.toThrow('the lease is lost');
    const staying = bulkhead.run(() => began.push('staying'), new AbortController().signal);
    expect(bulkhead.view()).toEqual({ running: 1, waiting: 1, refused: 0 });
    end.resolve();
    await Promise.all([running, staying]);
    expect(began).toEqual(['staying']);
    expect(bulkhead.view()).toMatchObject({ running: 0, waiting: 0 });
  });
});

describe('circuit breaker', () => {
  const create = () => {
    const clock = createManualClock();
    const changes: BreakerState[] = [];
    const breaker = createCircuitBreaker({
      clock,
      minimumCalls: 4,
      windowMs: 1_000,
      openMs: 500,
      maxOpenMs: 1_500,
      onChange: ({ to }) => changes.push(to),
    });
    return { clock, breaker, changes };
  };
  const failTimes = async (
    breaker: ReturnType<typeof createCircuitBreaker>,
    times: number,
  ): Promise<void> => {
    for (let n = 0; n < times; n += 1) await expect(breaker.run(fail)).rejects.toThrow('provider down');
  };

  it('stays open twice as long each time, without a bound where that is Infinity', async () => {
    const clock = createManualClock();
    const breaker = createCircuitBreaker({ clock, minimumCalls: 1, openMs: 500, maxOpenMs: Infinity });
    for (let openMs = 500; openMs < 1_000_000; openMs *= 2) {
      await failTimes(breaker, 1);
      expect(breaker.view()).toMatchObject({ state: 'open', retryAfterMs: openMs });
      clock.advance(openMs);
    }
  });

  it('opens at the threshold, refuses without calling, and closes after a good probe', async () => {
    const { clock, breaker, changes } = create();
    await failTimes(breaker, 3);
    expect(breaker.state).toBe('closed');
    await failTimes(breaker, 1);
    let called = false;
    await expect(breaker.run(() => (called = true))).rejects.toMatchObject({
      code: 'DB_MSG_BREAKER_OPEN',
      retryAfterMs: 500,
    });
    expect(called).toBe(false);
    clock.advance(500);
    await expect(breaker.run(() => 'well')).resolves.toBe('well');
    expect(changes).toEqual(['open', 'half-open', 'closed']);
  });

  it('stays open longer after each failed probe, up to the maximum', async () => {
    const { clock, breaker } = create();
    await failTimes(breaker, 4);
    for (const openedFor of [500, 1_000, 1_500, 1_500]) {
      clock.advance(openedFor - 1);
      await expect(breaker.run(fail)).rejects.toMatchObject({ code: 'DB_MSG_BREAKER_OPEN' });
      clock.advance(1);
      await failTimes(breaker, 1);
    }
  });

  it('lets one probe through at a time', async () => {
    const { clock, breaker } = create();
    await failTimes(breaker, 4);
    clock.advance(500);
    const { promise, resolve } = Promise.withResolvers<void>();
    const probe = breaker.run(() => promise);
    // How long the probe takes nobody knows, and 0 would be an invitation to ask all the time.
    await expect(breaker.run(() => 1)).rejects.toMatchObject({
      code: 'DB_MSG_BREAKER_OPEN',
      retryAfterMs: undefined,
    });
    resolve();
    await probe;
    expect(breaker.state).toBe('closed');
  });

  it('forgets failures that left the window, and calls that began in an earlier state', async () => {
    const { clock, breaker } = create();
    await failTimes(breaker, 3);
    clock.advance(1_100);
    await failTimes(breaker, 3);
    expect(breaker.state).toBe('closed');
    const { promise, reject } = Promise.withResolvers<void>();
    const slow = breaker.run(() => promise);
    await failTimes(breaker, 1);
    clock.advance(500);
    await breaker.run(() => 'well');
    reject(new Error('late'));
    await expect(slow).rejects.toThrow('late');
    expect(breaker.state).toBe('closed');
  });

  it('does not take the end of an old probe for that of a new one', async () => {
    const clock = createManualClock();
    const breaker = createCircuitBreaker({ clock, minimumCalls: 1, openMs: 500, probes: 2 });
    await failTimes(breaker, 1);
    clock.advance(500);
    const old = Promise.withResolvers<void>();
    const oldProbe = breaker.run(() => old.promise);
    await failTimes(breaker, 1);
    clock.advance(1_000);
    const fresh = Promise.withResolvers<void>();
    const probe = breaker.run(() => fresh.promise);
    old.resolve();
    await oldProbe;
    fresh.resolve();
    await probe;
    expect(breaker.state).toBe('half-open');
  });

  it('counts as failures only what isFailure says', async () => {
    const clock = createManualClock();
    const breaker = createCircuitBreaker({
      clock,
      minimumCalls: 1,
      threshold: 0.1,
      isFailure: (result) => 'value' in result && result.value === 503,
    });
    await failTimes(breaker, 5);
    expect(breaker.state).toBe('closed');
    await breaker.run(() => 503);
    expect(breaker.state).toBe('open');
  });
});
