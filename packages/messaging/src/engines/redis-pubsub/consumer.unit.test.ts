/** What a slow subscriber keeps in memory has a bound, whatever its handlers do with it. */
import { describe, expect, it } from 'vitest';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { Listener } from './consumer.ts';

const MAX_WAITING = 100;
const PREFETCH = 10;

/** Everything that is handed out is put off for `snoozeMs` at once; undefined: it stays out. */
function listening(snoozeMs?: number) {
  const clock = createManualClock();
  const listener: Listener = new Listener(
    { channel: 'c', subscription: 's', prefetch: PREFETCH, leaseMs: 1_000 },
    (deliveries) => {
      if (snoozeMs === undefined) return;
      const dueAt = clock.now() + snoozeMs;
      void listener.settle(
        deliveries.map(({ token }) => ({ kind: 'retry' as const, token, dueAt, state: '' })),
      );
    },
    { clock, maxWaiting: MAX_WAITING, onLost: () => {}, left: async () => {} },
  );
  const hear = (count: number): void => {
    for (let n = 0; n < count; n += 1) listener.hear(`${n}`);
  };
  return { clock, listener, hear };
}

describe('what waits', () => {
  it('has a bound when nobody handles it', () => {
    const { listener, hear } = listening();
    hear(1_000);
    expect(listener.view()).toMatchObject({
      ready: MAX_WAITING,
      inFlight: PREFETCH,
      delayed: 0,
      expired: 890,
    });
  });

  it('has the same bound when all of it is put off', () => {
    const { listener, hear } = listening(60_000);
    hear(1_000);
    expect(listener.view()).toMatchObject({ ready: 0, inFlight: 0, delayed: MAX_WAITING, expired: 900 });
  });

  it('is as old as the oldest of it, wherever that waits', () => {
    const { clock, listener, hear } = listening(60_000);
    hear(1);
    clock.advance(250);
    hear(1);
    expect(listener.view().oldestAgeMs).toBe(250);
  });
});
