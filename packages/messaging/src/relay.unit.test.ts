/** The relay beside others: how often it publishes while it rests, by a clock that is moved by hand. */
import { describe, expect, it } from 'vitest';
import { createManualClock } from './conformance/manual-clock.ts';
import type { OutboxRow } from './outbox.ts';
import { createRelay } from './relay.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function stage(restMs?: () => number) {
  const clock = createManualClock();
  const rows: OutboxRow[] = [];
  const published: number[][] = [];
  const marks: number[] = [];
  let number = 0;
  const relay = createRelay({
    clock,
    source: {
      readUnpublished: async (limit) => rows.slice(0, limit),
      markPublished: async (upTo) => {
        marks.push(upTo);
        rows.splice(0, rows.findLastIndex((row) => row.number <= upTo) + 1);
      },
    },
    bus: {
      forward: async (messages) => {
        published.push(messages.map((row) => (row as OutboxRow).number));
        return [];
      },
    },
    sweepMs: 1_000_000,
    ...(restMs && { restMs }),
  });
  /** A commit that appended a row, and its doorbell. */
  const append = async (): Promise<void> => {
    rows.push({ number: ++number } as OutboxRow);
    relay.wake();
    await turn();
  };
  return { clock, relay, append, published, marks };
}

describe('a relay that rests', () => {
  it('publishes what has come meanwhile with one publish and one mark', async () => {
    const { clock, relay, append, published, marks } = stage(() => 100);
    relay.start();
    for (let i = 0; i < 11; i++) await append();
    expect(published).toEqual([[1]]);
    clock.advance(99);
    await turn();
    expect(published).toHaveLength(1);
    clock.advance(1);
    await turn();
    expect(published).toEqual([[1], [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]]);
    expect(marks).toEqual([1, 11]);
  });

  it('control: one that does not publishes for each', async () => {
    const { relay, append, published } = stage();
    relay.start();
    for (let i = 0; i < 11; i++) await append();
    expect(published).toHaveLength(11);
  });

  it('rests no more when it is asked to stop, and leaves nothing behind', async () => {
    const { relay, append, published } = stage(() => 60_000);
    relay.start();
    await append();
    await append();
    await relay.stop();
    expect(published).toEqual([[1], [2]]);
  });

  it('asks each time, so that it is quick again as soon as it may', async () => {
    let restMs = 100;
    const { clock, relay, append, published } = stage(() => restMs);
    relay.start();
    await append();
    restMs = 0;
    clock.advance(100);
    await turn();
    for (let i = 0; i < 5; i++) await append();
    expect(published).toEqual([[1], [2], [3], [4], [5], [6]]);
  });
});
