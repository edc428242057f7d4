/** Reading on after a place was found to be led by somebody else, or its log not to be what it was: with the requests replaced, and the look for the leader as long as it likes. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { numbers } from '../../conformance/fixture.ts';
import { Fetcher } from './fetcher.ts';
import { Link } from './link.ts';
import { settingsOf } from './options.ts';

const OUT_OF_RANGE = 1;
const answer = (errorCode: number) => ({
  topics: [
    {
      topicId: 'id',
      partitions: [
        {
          partition: 0,
          errorCode,
          highWatermark: 9,
          lastStableOffset: 9,
          logStartOffset: 5,
          aborted: [],
          batches: [],
        },
      ],
    },
  ],
});
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

describe('looking again for who leads a place', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  /** How often something was read, when the look takes so many steps of the event loop's queue of promises. */
  async function readsAfter(steps: number): Promise<number> {
    const answers = [answer(OUT_OF_RANGE), answer(0)];
    vi.spyOn(Link.prototype, 'topics').mockResolvedValue(new Map([['t', { id: 'id' }]]) as never);
    vi.spyOn(Link.prototype, 'close').mockResolvedValue();
    vi.spyOn(Link.prototype, 'leaderOf').mockImplementation(async () => {
      for (let step = 0; step < steps; step += 1) await Promise.resolve();
      return 1;
    });
    vi.spyOn(Link.prototype, 'onNode').mockResolvedValue({
      version: 13,
      run: () => (answers.length > 0 ? Promise.resolve(answers.shift()) : new Promise(() => {})),
    } as never);
    const manual = createManualClock();
    let reads = 0;
    const fetcher = new Fetcher({
      settings: settingsOf({ url: 'kafka://127.0.0.1:1' }),
      clock: {
        ...manual,
        setTimer(ms, fn) {
          setImmediate(() => manual.advance(ms));
          return manual.setTimer(ms, fn);
        },
      },
      sources: [{ topic: 't', partition: 0, offset: 0, wantsMore: true }],
      onFetched: () => {
        reads += 1;
      },
      onTrouble: () => {},
    });
    fetcher.start();
    for (let left = 20; left > 0; left -= 1) await turn();
    await fetcher.close();
    return reads;
  }

  it('the place is read on, however long the look takes', async () => {
    const reads: number[] = [];
    for (const steps of numbers(0, 15)) {
      reads.push(await readsAfter(steps));
      vi.restoreAllMocks();
    }
    expect(reads).toEqual(reads.map(() => 2));
  });
});
