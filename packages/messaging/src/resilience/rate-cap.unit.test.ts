/** The rate cap and its layer, and that a cap which never refuses fails the same cases. */
import { describe, expect, it } from 'vitest';
import { registerControls } from '../conformance/controls.ts';
import { createManualClock } from '../conformance/manual-clock.ts';
import { ack, snooze } from '../outcome.ts';
import { rateCapped } from './middleware.ts';
import { createRateCap, type RateCap, type RateCapOptions } from './rate-cap.ts';
import { controlsOf, type PartCase } from './testing/part-cases.ts';

type Make = (options: RateCapOptions) => RateCap;

const cases: readonly PartCase<Make>[] = [
  {
    name: 'spaces takes evenly and tells how long to wait',
    run(make) {
      const clock = createManualClock();
      const cap = make({ clock, permits: 10 });
      expect(cap.tryTake()).toBe(0);
      expect(cap.tryTake()).toBe(100);
      clock.advance(60);
      expect(cap.tryTake()).toBe(40);
      clock.advance(40);
      expect(cap.tryTake()).toBe(0);
    },
  },
  {
    name: 'never grants more than burst + rate in any time',
    run(make) {
      const clock = createManualClock();
      const cap = make({ clock, permits: 5, burst: 3 });
      let granted = 0;
      for (let ms = 0; ms < 10_000; ms += 7) {
        if (cap.tryTake() === 0) granted += 1;
        clock.advance(7);
      }
      expect(granted).toBeLessThanOrEqual(3 + 50);
      expect(granted).toBeGreaterThanOrEqual(50);
    },
  },
  {
    name: 'serves waiting callers in order and refuses beyond maxWaitMs',
    async run(make) {
      const clock = createManualClock();
      const cap = make({ clock, permits: 10, maxWaitMs: 250 });
      const served: number[] = [];
      const takes = [1, 2, 3].map((n) => cap.take().then(() => served.push(n)));
      await expect(cap.take()).rejects.toMatchObject({ code: 'DB_MSG_RATE_CAP_FULL', retryAfterMs: 300 });
      clock.advance(200);
      await Promise.all(takes);
      expect(served).toEqual([1, 2, 3]);
    },
  },
  {
    name: 'grants nothing while backed off',
    run(make) {
      const clock = createManualClock();
      const cap = make({ clock, permits: 10, burst: 5 });
      cap.backOff(2_000);
      expect(cap.tryTake()).toBe(2_000);
      clock.advance(2_000);
      expect(cap.tryTake()).toBe(0);
    },
  },
  {
    name: 'as a layer: what may not wait is put off for as long as the cap says',
    async run(make) {
      const clock = createManualClock();
      const layer = rateCapped(make({ clock, permits: 10, maxWaitMs: 0 }));
      let handled = 0;
      const handle = () =>
        layer({} as never, {} as never, async () => {
          handled += 1;
          return ack();
        });
      expect(await handle()).toEqual(ack());
      expect(await handle()).toEqual(snooze(100));
      expect(handled).toBe(1);
      clock.advance(100);
      expect(await handle()).toEqual(ack());
    },
  },
];

describe('a rate whose numbers are sound one by one, but not together', () => {
  const clock = createManualClock();

  it.each<[given: Omit<RateCapOptions, 'clock'>, words: string]>([
    [{ permits: 1e-308 }, 'perMs / permits is a number above 0 to 9007199254740991, not Infinity'],
    [{ permits: 1e-300 }, 'perMs / permits is'],
    [{ permits: 1e308, perMs: 1e-308 }, 'perMs / permits is a number above 0 to 9007199254740991, not 0'],
    [{ permits: 5, burst: 1e300 }, '(burst - 1) * perMs / permits is'],
    [{ permits: 1e-3, perMs: 1e12, burst: 1e300 }, '(burst - 1) * perMs / permits is'],
  ])('is refused: %j', (given, words) => {
    expect(() => createRateCap({ clock, ...given })).toThrow(
      expect.objectContaining({ code: 'DB_MSG_INVALID_OPTIONS', message: expect.stringContaining(words) }),
    );
  });

  it.each<[given: Omit<RateCapOptions, 'clock'>, ms: number]>([
    [{ permits: 1e-9 }, 1e12],
    [{ permits: 1, perMs: 86_400_000 * 365 }, 86_400_000 * 365],
    [{ permits: 10, burst: 1 }, 100],
  ])('is taken where its takes can be told apart: %j (the control)', (given, ms) => {
    const cap = createRateCap({ clock: createManualClock(), ...given });
    expect(cap.tryTake()).toBe(0);
    expect(cap.tryTake()).toBeCloseTo(ms, 3);
  });
});

describe('rate cap', () => {
  it.each(cases)('$name', async ({ run }) => {
    await expect(Promise.resolve(run(createRateCap))).resolves.toBeUndefined();
  });

  registerControls(
    it,
    'rate cap',
    controlsOf<Make>(cases, createRateCap, {
      'it never refuses': {
        make: (options) => ({ ...createRateCap(options), take: async () => {}, tryTake: () => 0 }),
        seenBy: cases.map(({ name }) => name),
      },
      'it does not hear that it is to slow down': {
        make: (options) => ({ ...createRateCap(options), backOff: () => {} }),
        seenBy: ['while backed off'],
      },
    }),
  );
});
