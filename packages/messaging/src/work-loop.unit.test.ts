/** The loop of everything that works in the background, by a clock that is moved by hand. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { describe, expect, it } from 'vitest';
import { type Clock, systemClock } from './clock.ts';
import { createManualClock } from './conformance/manual-clock.ts';
import { Turns } from './turns.ts';
import { WorkLoop } from './work-loop.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function stage(step: (n: number) => boolean) {
  const clock = createManualClock();
  const failures: string[] = [];
  let steps = 0;
  const loop = new WorkLoop({
    clock,
    sweepMs: 1_000,
    backOffMs: 10,
    step: async () => step((steps += 1)),
    onFailure: (error) => failures.push(error),
  });
  const pass = async (ms: number): Promise<void> => {
    clock.advance(ms);
    await turn();
  };
  return { loop, pass, failures, steps: () => steps };
}

/** Each look at it is later by as much as a batch may take; timers are those of the machine. */
function hurryingClock(): Clock {
  let elapsed = 0;
  return { ...systemClock, monotonic: () => (elapsed += 20) };
}

describe('a loop of work whose steps wait for nothing', () => {
  it.each([
    ['says that there is more', true],
    ['rings for the next one, as a saga does', false],
  ])('leaves the event loop its turns where a step %s', async (_what, more) => {
    let turned = false;
    let steps = 0;
    const loop: WorkLoop = new WorkLoop({
      clock: hurryingClock(),
      sweepMs: 1_000,
      backOffMs: 10,
      async step() {
        steps += 1;
        if (turned || steps >= 5_000) return false;
        if (!more) queueMicrotask(() => loop.wake());
        return more;
      },
      onFailure: (error) => expect(error).toBeUndefined(),
    });
    setImmediate(() => {
      turned = true;
    });
    loop.start();
    await loop.idle();
    for (let looks = 0; looks < 10_000 && !turned; looks += 1) await loop.idle();
    expect(turned).toBe(true);
    expect(steps).toBeLessThan(5_000);
    await loop.end();
  });

  it('does not wait where the event loop turns by itself, or the clock stands still', async () => {
    const clock = createManualClock();
    const turns = new Turns(clock);
    expect(turns.due()).toBeUndefined();
    expect(turns.due()).toBeUndefined();
    clock.advance(50);
    await turn();
    expect(turns.due()).toBeUndefined();
  });
});

describe('a loop of work', () => {
  it('goes on while there is more, and looks again at a doorbell or a sweep', async () => {
    const { loop, pass, steps } = stage((n) => n < 3);
    loop.start();
    await turn();
    expect(steps()).toBe(3);
    loop.wake();
    await turn();
    expect(steps()).toBe(4);
    await pass(1_000);
    expect(steps()).toBe(5);
  });

  it('waits longer with each failure in a row, and after a success as at first', async () => {
    const { loop, pass, failures, steps } = stage((n) => {
      if (n === 4) return false;
      throw new Error(`step ${n}`);
    });
    loop.start();
    await turn();
    expect([steps(), loop.isFailing]).toEqual([1, true]);
    await pass(10);
    expect(steps()).toBe(2);
    await pass(19);
    expect(steps()).toBe(2);
    await pass(1);
    expect(steps()).toBe(3);
    await pass(40);
    expect([steps(), loop.isFailing]).toEqual([4, false]);
    loop.wake();
    await turn();
    expect(steps()).toBe(5);
    await pass(10);
    expect(steps()).toBe(6);
    expect(failures).toHaveLength(5);
    await loop.end();
  });

  it('drains to the end when it is asked to, and ends after one step when it is asked to', async () => {
    const draining = stage((n) => n < 100);
    draining.loop.start();
    await draining.loop.drain(1_000);
    // What was appended during the last step has rung: it looks once more.
    expect(draining.steps()).toBe(101);
    const ending = stage(() => true);
    ending.loop.start();
    await ending.loop.end();
    expect([ending.steps(), ending.loop.state]).toEqual([1, 'stopped']);
  });

  it('looks once more for who rings and drains right behind its last look', async () => {
    let steps = 0;
    let drained: Promise<boolean> | undefined;
    const loop: WorkLoop = new WorkLoop({
      clock: createManualClock(),
      sweepMs: 1_000,
      backOffMs: 10,
      step() {
        steps += 1;
        const none = Promise.resolve(false);
        // Behind what goes on with this answer.
        if (steps === 1)
          void none.then(() =>
            queueMicrotask(() => {
              loop.wake();
              drained = loop.drain(1_000);
            }),
          );
        return none;
      },
      onFailure: (error) => expect(error).toBeUndefined(),
    });
    loop.start();
    await turn();
    expect(await drained).toBe(true);
    expect(steps).toBeGreaterThan(1);
  });

  it('gives a step that does not end a bounded time, and answers everybody who asks it to end', async () => {
    const clock = createManualClock();
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const loop = new WorkLoop({
      clock,
      sweepMs: 1_000,
      backOffMs: 10,
      step: () => promise,
      onFailure: () => {},
    });
    loop.start();
    const answers: boolean[] = [];
    const first = loop.drain(100).then((ended) => answers.push(ended));
    const second = loop.drain(0).then((ended) => answers.push(ended));
    await turn();
    for (const ms of [100, 4_999]) {
      clock.advance(ms);
      await turn();
      expect(answers).toEqual([]);
    }
    clock.advance(1);
    await Promise.all([first, second]);
    expect(answers).toEqual([false, false]);
    resolve(true);
    await loop.idle();
    expect(loop.state).toBe('stopped');
  });

  it('works outside of whatever rang the doorbell', async () => {
    const transaction = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    const { loop } = stage(() => {
      seen.push(transaction.getStore());
      return false;
    });
    loop.start();
    await turn();
    transaction.run('open', () => loop.wake());
    await turn();
    expect(seen).toEqual([undefined, undefined]);
  });
});
