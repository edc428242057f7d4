import { describe, expect, it } from 'vitest';
import { createManualClock } from '../../conformance/manual-clock.ts';
import type { Turn, TurnReply } from './turn.ts';
import { TurnPace } from './turn-pace.ts';
import { TurnQueue } from './turn-queue.ts';

/** A pace that has seen 128 rows take `workMs` on this side, and a commit take `commitMs`. */
function paceOf({ workMs, commitMs }: { workMs: number; commitMs: number | undefined }): TurnPace {
  const pace = new TurnPace();
  pace.answered(commitMs, 1_000);
  pace.sent(128, 1_000 + workMs);
  return pace;
}

describe('the order of turns', () => {
  it.each([
    ['a commit shorter than the work', { workMs: 0.5, commitMs: 0.1 }, 'divided'],
    ['a commit longer than the work', { workMs: 0.5, commitMs: 3 }, 'gathered'],
    ['no measure of commits, as in a simulator', { workMs: 0.5, commitMs: undefined }, undefined],
  ])('%s', (_, measured, order) => {
    expect(paceOf(measured).orderFor(128)).toBe(order);
  });

  it('divides no few rows, and nothing before the work was seen', () => {
    expect(paceOf({ workMs: 50, commitMs: 0.1 }).orderFor(10)).toBe('gathered');
    const unseen = new TurnPace();
    unseen.answered(0.1, 0);
    expect(unseen.orderFor(1_000)).toBe('gathered');
  });

  it('follows a disk that becomes slow, and one that becomes quick again', () => {
    const pace = paceOf({ workMs: 0.5, commitMs: 0.1 });
    for (let n = 0; n < 20; n += 1) pace.answered(5, 2_000);
    expect(pace.orderFor(128)).toBe('gathered');
    for (let n = 0; n < 40; n += 1) pace.answered(0.1, 3_000);
    expect(pace.orderFor(128)).toBe('divided');
  });
});

describe('a queue of turns', () => {
  it('has two out where commits are quick, each at most half of what is asked', async () => {
    const { turns, outAtOnce } = await publishing(0.1);
    expect(Math.max(...outAtOnce)).toBe(2);
    expect(Math.max(...turns.slice(2))).toBe(64);
  });

  it('has one out where commits are slow, with everything that was asked meanwhile', async () => {
    const { turns, outAtOnce } = await publishing(10);
    expect(Math.max(...outAtOnce)).toBe(1);
    expect(Math.min(...turns.slice(2))).toBe(128);
  });

  /** 128 publishers, each of which asks again when it is answered, 0.005 ms of work each. */
  async function publishing(
    commitMs: number,
  ): Promise<{ readonly turns: readonly number[]; readonly outAtOnce: readonly number[] }> {
    const clock = createManualClock();
    const turns: number[] = [];
    const outAtOnce: number[] = [];
    const answers: (() => void)[] = [];
    const queue = new TurnQueue({
      writer: {
        durability: 'disk',
        run: ({ operations }: Turn) =>
          new Promise((resolve) => {
            turns.push(operations.length);
            const results = operations.map(() => ({ value: undefined }));
            const reply: TurnReply = {
              results,
              handOuts: [],
              nextDueAt: undefined,
              nextLeaseEnd: undefined,
              commitMs,
            };
            answers.push(() => resolve(reply));
            outAtOnce.push(answers.length);
          }),
        close: async () => {},
      },
      clock,
      onHandOuts: () => {},
      onLost: () => {},
    });
    let stopped = false;
    async function publisher(): Promise<void> {
      while (!stopped) {
        clock.advance(0.005);
        await queue.ask({ op: 'publish', rows: [row] });
      }
    }
    const publishers = Promise.all(Array.from({ length: 128 }, publisher));
    for (let n = 0; n < 12; n += 1) await answerOne();
    stopped = true;
    while (answers.length > 0) await answerOne();
    await publishers;
    return { turns: turns.slice(0, 12), outAtOnce };

    async function answerOne(): Promise<void> {
      answers.shift()?.();
      // All promises of this answer, as before the next message of a thread.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  const row = { channel: 'c', level: 0, key: null, expiresAt: null, dueAt: null, body: '{}' };
});
