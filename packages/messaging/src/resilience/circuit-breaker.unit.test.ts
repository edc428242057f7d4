/** The circuit breaker and its layer, and that one which never opens fails the same cases. */
import { describe, expect, it } from 'vitest';
import { registerControls } from '../conformance/controls.ts';
import { createManualClock, type ManualClock } from '../conformance/manual-clock.ts';
import { silentLog } from '../log.ts';
import { ack, snooze } from '../outcome.ts';
import {
  type BreakerState,
  type CircuitBreaker,
  type CircuitBreakerOptions,
  createCircuitBreaker,
} from './circuit-breaker.ts';
import { breakered } from './middleware.ts';
import { controlsOf, type PartCase } from './testing/part-cases.ts';

type Make = (options: CircuitBreakerOptions) => CircuitBreaker;

const fail = (): never => {
  throw new Error('provider down');
};

interface Watched {
  readonly clock: ManualClock;
  readonly breaker: CircuitBreaker;
  readonly changes: readonly BreakerState[];
}

function watched(make: Make): Watched {
  const clock = createManualClock();
  const changes: BreakerState[] = [];
  const breaker = make({
    clock,
    minimumCalls: 4,
    windowMs: 1_000,
    openMs: 500,
    maxOpenMs: 1_500,
    probeMs: 2_000,
    onChange: ({ to }) => changes.push(to),
  });
  return { clock, breaker, changes };
}

async function failTimes(breaker: CircuitBreaker, times: number): Promise<void> {
  for (let n = 0; n < times; n += 1) await expect(breaker.run(fail)).rejects.toThrow('provider down');
}

const cases: readonly PartCase<Make>[] = [
  {
    name: 'stays open twice as long each time, without a bound where that is Infinity',
    async run(make) {
      const clock = createManualClock();
      const breaker = make({ clock, minimumCalls: 1, openMs: 500, maxOpenMs: Infinity });
      for (let openMs = 500; openMs < 1_000_000; openMs *= 2) {
        await failTimes(breaker, 1);
        expect(breaker.view()).toMatchObject({ state: 'open', retryAfterMs: openMs });
        clock.advance(openMs);
      }
    },
  },
  {
    name: 'opens at the threshold, refuses without calling, and closes after a good probe',
    async run(make) {
      const { clock, breaker, changes } = watched(make);
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
    },
  },
  {
    name: 'stays open longer after each failed probe, up to the maximum',
    async run(make) {
      const { clock, breaker } = watched(make);
      await failTimes(breaker, 4);
      for (const openedFor of [500, 1_000, 1_500, 1_500]) {
        clock.advance(openedFor - 1);
        await expect(breaker.run(fail)).rejects.toMatchObject({ code: 'DB_MSG_BREAKER_OPEN' });
        clock.advance(1);
        await failTimes(breaker, 1);
      }
    },
  },
  {
    name: 'lets one probe through at a time',
    async run(make) {
      const { clock, breaker } = watched(make);
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
    },
  },
  {
    name: 'forgets failures that left the window, and calls that began in an earlier state',
    async run(make) {
      const { clock, breaker } = watched(make);
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
    },
  },
  {
    name: 'does not take the end of an old probe for that of a new one',
    async run(make) {
      const clock = createManualClock();
      const breaker = make({ clock, minimumCalls: 1, openMs: 500, probes: 2 });
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
    },
  },
  {
    name: 'takes a probe that does not end for a failed one, and lets the next one through in its time',
    async run(make) {
      const { clock, breaker, changes } = watched(make);
      await failTimes(breaker, 4);
      clock.advance(500);
      const hung = Promise.withResolvers<void>();
      const probe = breaker.run(() => hung.promise);
      clock.advance(1_999);
      await expect(breaker.run(() => 1)).rejects.toMatchObject({ retryAfterMs: undefined });
      expect(breaker.state).toBe('half-open');
      clock.advance(1);
      await expect(breaker.run(() => 1)).rejects.toMatchObject({
        code: 'DB_MSG_BREAKER_OPEN',
        retryAfterMs: 1_000,
      });
      // What comes of it now says nothing of what runs now.
      hung.resolve();
      await probe;
      expect(breaker.state).toBe('open');
      clock.advance(1_000);
      await expect(breaker.run(() => 'well')).resolves.toBe('well');
      expect(changes).toEqual(['open', 'half-open', 'open', 'half-open', 'closed']);
    },
  },
  {
    name: 'waits for the end of a probe as long as it takes where that is Infinity',
    async run(make) {
      const clock = createManualClock();
      const breaker = make({ clock, minimumCalls: 1, probeMs: Infinity });
      await failTimes(breaker, 1);
      clock.advance(5_000);
      const slow = Promise.withResolvers<void>();
      const probe = breaker.run(() => slow.promise);
      clock.advance(1e9);
      await expect(breaker.run(() => 1)).rejects.toMatchObject({ retryAfterMs: undefined });
      slow.resolve();
      await probe;
      expect(breaker.state).toBe('closed');
    },
  },
  {
    name: 'a hook that throws, or a judge that does, changes nothing about the call, and is told',
    async run(make) {
      const clock = createManualClock();
      const told: string[] = [];
      const throws = (): never => {
        throw new Error('metrics down');
      };
      const breaker = make({
        clock,
        minimumCalls: 1,
        openMs: 500,
        onChange: throws,
        isFailure: throws,
        log: { ...silentLog, warn: ({ error }, text) => void told.push(`${text}: ${String(error)}`) },
      });
      await failTimes(breaker, 1);
      expect(breaker.state).toBe('open');
      clock.advance(500);
      await expect(breaker.run(() => 'well')).resolves.toBe('well');
      expect(breaker.state).toBe('closed');
      const hook = 'a hook of a circuit breaker failed: Error: metrics down';
      const judge = 'isFailure of a circuit breaker threw: Error: metrics down';
      expect(told).toEqual([judge, hook, hook, judge, hook]);
    },
  },
  {
    name: 'counts as failures only what isFailure says',
    async run(make) {
      const clock = createManualClock();
      const breaker = make({
        clock,
        minimumCalls: 1,
        threshold: 0.1,
        isFailure: (result) => 'value' in result && result.value === 503,
      });
      await failTimes(breaker, 5);
      expect(breaker.state).toBe('closed');
      await breaker.run(() => 503);
      expect(breaker.state).toBe('open');
    },
  },
  {
    name: 'as a layer: while it is open messages are put off until it lets a probe through',
    async run(make) {
      const { clock, breaker } = watched(make);
      const layer = breakered(breaker);
      let handled = 0;
      const handle = () =>
        layer({} as never, {} as never, async () => {
          handled += 1;
          return ack();
        });
      await failTimes(breaker, 4);
      expect(await handle()).toEqual(snooze(500));
      expect(handled).toBe(0);
      clock.advance(500);
      expect(await handle()).toEqual(ack());
    },
  },
];

describe('circuit breaker', () => {
  it.each(cases)('$name', async ({ run }) => {
    await expect(Promise.resolve(run(createCircuitBreaker))).resolves.toBeUndefined();
  });

  registerControls(
    it,
    'circuit breaker',
    controlsOf<Make>(cases, createCircuitBreaker, {
      'it never opens': {
        make: (options) => createCircuitBreaker({ ...options, isFailure: () => false }),
        seenBy: [
          'twice as long each time',
          'opens at the threshold',
          'longer after each failed probe',
          'one probe through at a time',
          'the end of an old probe',
          'a probe that does not end',
          'the end of a probe as long as it takes',
          'a hook that throws',
          'only what isFailure says',
          'as a layer',
        ],
      },
      'it never forgets': {
        make: (options) => createCircuitBreaker({ ...options, windowMs: 3_600_000 }),
        seenBy: ['forgets failures that left the window'],
      },
      'a probe may take for ever': {
        make: (options) => createCircuitBreaker({ ...options, probeMs: Infinity }),
        seenBy: ['a probe that does not end'],
      },
      'a probe has a time that is given to none': {
        make: (options) => createCircuitBreaker({ ...options, probeMs: 60_000 }),
        seenBy: ['a probe that does not end', 'the end of a probe as long as it takes'],
      },
      'what a hook throws is thrown by the call': {
        make: (options) => {
          let thrown: unknown;
          const breaker = createCircuitBreaker({
            ...options,
            onChange: (change) => {
              try {
                options.onChange?.(change);
              } catch (error) {
                thrown = error;
                throw error;
              }
            },
          });
          const run: CircuitBreaker['run'] = async (fn) => {
            thrown = undefined;
            const value = await breaker.run(fn);
            if (thrown !== undefined) throw thrown;
            return value;
          };
          return {
            run,
            view: () => breaker.view(),
            get state() {
              return breaker.state;
            },
          };
        },
        seenBy: ['a hook that throws'],
      },
      'everybody is a probe': {
        make: (options) => createCircuitBreaker({ ...options, probes: 1_000 }),
        seenBy: ['one probe through at a time'],
      },
    }),
  );
});

it('a hook whose promise rejects is told like one that throws, and ends no process', async () => {
  const told: string[] = [];
  const breaker = createCircuitBreaker({
    clock: createManualClock(),
    minimumCalls: 1,
    // As JavaScript may give it: the type promises nothing.
    onChange: (async () => {
      throw new Error('metrics down');
    }) as () => void,
    log: { ...silentLog, warn: ({ error }, text) => void told.push(`${text}: ${String(error)}`) },
  });
  await failTimes(breaker, 1);
  await new Promise((resolve) => setImmediate(resolve));
  expect(told).toEqual(['a hook of a circuit breaker failed: Error: metrics down']);
});
