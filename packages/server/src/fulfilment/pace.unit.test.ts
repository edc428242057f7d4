/** The share of fulfilment while a crowd is at the door, by a clock that is moved by hand. */
import { createManualClock } from '@doorbuster/messaging/conformance';
import { describe, expect, it } from 'vitest';
import { createCrowd } from '../live/crowd.ts';
import { createDispatch } from './dispatch.ts';
import { createPace } from './pace.ts';

/** 10,000 deliveries of 5 ms each, 64 places, and a crowd that comes and goes. */
function stage(paced = true) {
  const clock = createManualClock();
  let here = true;
  let done = 0;
  const pace = createPace({ clock, crowd: { isHere: () => here }, onTurn: () => dispatch.look() });
  const dispatch = createDispatch({
    concurrency: 64,
    capacity: 10_000,
    mayStart: () => true,
    ...(paced && { take: () => pace.take() }),
    run: () =>
      new Promise((resolve) => {
        clock.setTimer(5, () => {
          done += 1;
          resolve();
        });
      }),
  });
  void dispatch.add(
    'a',
    Array.from({ length: 10_000 }, (_, i) => `a.${i}`),
  );
  /** Moves on by single ms, with the promises of each done before the next. */
  const pass = async (ms: number): Promise<number> => {
    const before = done;
    for (let i = 0; i < ms; i++) {
      clock.advance(1);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return done - before;
  };
  return { pass, dispatch, leave: () => void (here = false), come: () => void (here = true) };
}

describe('while a crowd is at the door', () => {
  it('100 deliveries a second begin, neither more nor fewer, and all places are used when it has gone', async () => {
    const { pass, leave, come } = stage();
    await pass(160);
    expect(await pass(1_600)).toBe(160);
    leave();
    await pass(160);
    expect(await pass(100)).toBeGreaterThan(64 * 10);
    come();
    await pass(160);
    expect(await pass(800)).toBe(80);
  });

  it('control: without a pace it takes all it can get', async () => {
    const { pass } = stage(false);
    expect(await pass(500)).toBeGreaterThan(64 * 50);
  });

  it('a pace that was stopped sets no more timers', () => {
    const clock = createManualClock();
    let turns = 0;
    const pace = createPace({ clock, crowd: { isHere: () => true }, onTurn: () => void turns++, burst: 1 });
    expect([pace.take(), pace.take(), pace.take()]).toEqual([true, false, false]);
    pace.stop();
    clock.advance(1_000);
    expect(turns).toBe(0);
  });
});

describe('a crowd', () => {
  function door() {
    const clock = createManualClock();
    let asked = 0;
    let waiting = 0;
    const crowd = createCrowd({ clock, asked: () => asked, waiting: () => waiting });
    /** `perSecond` entries for `ms`, looked at each 10 ms; returns the share of looks that saw a crowd. */
    const at = (perSecond: number, ms: number, queue = 0): number => {
      waiting = queue;
      let seen = 0;
      for (let i = 0; i < ms / 10; i++) {
        clock.advance(10);
        asked += perSecond / 100;
        if (crowd.isHere()) seen += 1;
      }
      return seen / (ms / 10);
    };
    return { at, clock, crowd, ask: (count: number) => void (asked += count) };
  }

  it('is more than 500 entries a second, refused or not, and stays for a moment', () => {
    const { at } = door();
    expect(at(400, 1_000)).toBe(0);
    expect(at(600, 1_000)).toBeGreaterThan(0.9);
    expect(at(0, 200)).toBe(1);
    at(0, 200);
    expect(at(0, 1_000)).toBe(0);
  });

  it('is a full buffer as well, however slow the machine', () => {
    const { at } = door();
    expect(at(100, 1_000, 63)).toBe(0);
    expect(at(100, 1_000, 64)).toBeGreaterThan(0.9);
  });

  it('is not what came long ago, in one look', () => {
    const { at, clock, crowd, ask } = door();
    at(0, 100);
    ask(5_000);
    clock.advance(60_000);
    expect(crowd.isHere()).toBe(false);
  });
});
