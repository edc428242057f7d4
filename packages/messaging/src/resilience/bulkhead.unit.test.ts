/** The bulkhead and its layer, and that one without a bound fails the same cases. */
import { describe, expect, it } from 'vitest';
import { registerControls } from '../conformance/controls.ts';
import { ack, snooze } from '../outcome.ts';
import { type Bulkhead, type BulkheadOptions, createBulkhead } from './bulkhead.ts';
import { bulkheaded } from './middleware.ts';
import { controlsOf, type PartCase } from './testing/part-cases.ts';

type Make = (options: BulkheadOptions) => Bulkhead;

const fail = (): never => {
  throw new Error('provider down');
};

const cases: readonly PartCase<Make>[] = [
  {
    name: 'runs so many at once, queues so many in order, refuses the rest without calling them',
    async run(make) {
      const bulkhead = make({ concurrency: 2, queue: 2 });
      const ends: (() => void)[] = [];
      const began: number[] = [];
      const call = (n: number): Promise<void> =>
        bulkhead.run(() => {
          began.push(n);
          return new Promise<void>((resolve) => ends.push(resolve));
        });
      const calls = [call(1), call(2), call(3), call(4)];
      const refused = call(5);
      // Before it is waited for: one that was let in would never end here.
      expect(began).toEqual([1, 2]);
      expect(bulkhead.view()).toEqual({ running: 2, waiting: 2, refused: 1 });
      await expect(refused).rejects.toMatchObject({ code: 'DB_MSG_BULKHEAD_FULL', retryable: true });
      while (began.length < 4 || ends.length > 0) {
        ends.shift()?.();
        await Promise.resolve();
      }
      await Promise.all(calls);
      expect(began).toEqual([1, 2, 3, 4]);
      expect(bulkhead.view()).toMatchObject({ running: 0, waiting: 0 });
    },
  },
  {
    name: 'frees its place when a call throws',
    async run(make) {
      const bulkhead = make({ concurrency: 1 });
      await expect(bulkhead.run(fail)).rejects.toThrow('provider down');
      await expect(bulkhead.run(() => 7)).resolves.toBe(7);
    },
  },
  {
    name: 'is left by whoever gives up in its queue, and hands no place to it',
    async run(make) {
      const bulkhead = make({ concurrency: 1, queue: 2 });
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
    },
  },
  {
    name: 'as a layer: what finds no room is put off',
    async run(make) {
      const layer = bulkheaded(make({ concurrency: 1 }), { putOffMs: 5 });
      const end = Promise.withResolvers<void>();
      const running = layer({} as never, {} as never, async () => {
        await end.promise;
        return ack();
      });
      expect(await layer({} as never, {} as never, async () => ack())).toEqual(snooze(5));
      end.resolve();
      expect(await running).toEqual(ack());
    },
  },
];

/** A call that threw goes on holding its place. */
function keepingPlaces(options: BulkheadOptions): Bulkhead {
  const real = createBulkhead(options);
  return {
    view: () => real.view(),
    run: (fn) =>
      new Promise((resolve, reject) => {
        const call = (): Promise<void> =>
          Promise.resolve()
            .then(fn)
            .then(resolve, (error: unknown) => {
              reject(error);
              return new Promise<void>(() => {});
            });
        real.run(call).catch(reject);
      }),
  };
}

describe('bulkhead', () => {
  it.each(cases)('$name', async ({ run }) => {
    await expect(Promise.resolve(run(createBulkhead))).resolves.toBeUndefined();
  });

  registerControls(
    it,
    'bulkhead',
    controlsOf<Make>(cases, createBulkhead, {
      'as many run as come': {
        make: (options) => createBulkhead({ ...options, concurrency: Number.MAX_SAFE_INTEGER }),
        seenBy: ['so many at once', 'gives up in its queue', 'as a layer'],
      },
      'as many wait as come': {
        make: (options) => createBulkhead({ ...options, queue: Number.POSITIVE_INFINITY }),
        seenBy: ['so many at once'],
      },
      'a call that throws keeps its place': { make: keepingPlaces, seenBy: ['when a call throws'] },
    }),
  );
});
