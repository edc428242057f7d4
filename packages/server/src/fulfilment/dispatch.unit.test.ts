import { describe, expect, it } from 'vitest';
import { createDispatch, type DispatchOptions } from './dispatch.ts';

function stage(options: Partial<DispatchOptions> & Pick<DispatchOptions, 'concurrency'>) {
  const started: string[] = [];
  const ends = new Map<string, () => void>();
  const dispatch = createDispatch({
    capacity: 100,
    mayStart: () => true,
    ...options,
    run: (_campaignId, deliveryId) => {
      started.push(deliveryId);
      return new Promise((resolve) => ends.set(deliveryId, resolve));
    },
  });
  return {
    dispatch,
    started,
    end: async (id: string) => {
      ends.get(id)!();
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

describe('dispatch', () => {
  it('serves campaigns in turn, however many deliveries the first one has', async () => {
    const { dispatch, started, end } = stage({ concurrency: 2 });
    for (const id of ['hot.1', 'hot.2', 'hot.3', 'hot.4', 'cold.1'])
      void dispatch.add(id.split('.')[0]!, [id]);
    await end('hot.1');
    await end('hot.2');
    await end('hot.3');
    expect(started.indexOf('cold.1')).toBeLessThan(started.indexOf('hot.4'));
  });
  it('runs an id once however often it is rung', async () => {
    const { dispatch, started, end } = stage({ concurrency: 5 });
    const runs = [dispatch.add('a', ['a.1']), dispatch.add('a', ['a.1']), dispatch.add('a', ['a.1'])];
    await end('a.1');
    await Promise.all(runs);
    expect(started).toEqual(['a.1']);
  });
  it('leaves a campaign without room alone and serves the others', () => {
    const full = new Set(['slow']);
    const { dispatch, started } = stage({ concurrency: 5, mayStart: (campaignId) => !full.has(campaignId) });
    void dispatch.add('slow', ['slow.1']);
    void dispatch.add('fast', ['fast.1']);
    expect(started).toEqual(['fast.1']);
    full.clear();
    dispatch.look();
    expect(started).toEqual(['fast.1', 'slow.1']);
  });
  const numbered = (campaignId: string, from: number, to: number): string[] =>
    Array.from({ length: to - from + 1 }, (_, i) => `${campaignId}.${from + i}`);
  it('turns away what does not fit, at once', async () => {
    const { dispatch } = stage({ concurrency: 1, capacity: 100 });
    void dispatch.add('a', ['a.0']);
    void dispatch.add('a', numbered('a', 1, 101));
    expect(dispatch.has('a.101')).toBe(false);
    expect(dispatch.view()).toEqual({ waiting: 100, running: 1 });
    expect(dispatch.room('a')).toBe(0);
    await dispatch.add('a', ['a.102']);
    expect(dispatch.has('a.102')).toBe(false);
  });
  it('hears the first of each campaign even when another has filled the queue', () => {
    const { dispatch } = stage({ concurrency: 1, capacity: 100 });
    void dispatch.add('hot', ['hot.0']);
    void dispatch.add('hot', numbered('hot', 1, 100));
    void dispatch.add('cold', numbered('cold', 1, 70));
    expect(dispatch.has('cold.64')).toBe(true);
    expect(dispatch.has('cold.65')).toBe(false);
    expect(dispatch.view().waiting).toBe(164);
  });
  it('ends an adding when all of it has run, shared ids included', async () => {
    const { dispatch, end } = stage({ concurrency: 5 });
    let over = false;
    void dispatch.add('a', ['a.1']);
    const both = dispatch.add('a', ['a.1', 'a.2']).then(() => {
      over = true;
    });
    await end('a.2');
    expect(over).toBe(false);
    await end('a.1');
    await both;
    expect(over).toBe(true);
  });
  it('starts nothing without a place, and tells when the queue is half empty', async () => {
    const half: number[] = [];
    let places = 0;
    const { dispatch, started } = stage({
      concurrency: 100,
      capacity: 8,
      take: () => places-- > 0,
      onHalfEmpty: () => half.push(dispatch.view().waiting),
    });
    void dispatch.add('a', numbered('a', 1, 8));
    expect(started).toEqual([]);
    places = 3;
    dispatch.look();
    expect(started).toHaveLength(3);
    expect(half).toEqual([]);
    places = 2;
    dispatch.look();
    expect(half).toEqual([4]);
  });
  it('drain lets go of what waits and waits for what runs', async () => {
    const { dispatch, end } = stage({ concurrency: 1 });
    const first = dispatch.add('a', ['a.1']);
    const second = dispatch.add('a', ['a.2']);
    const drained = dispatch.drain();
    await second;
    await end('a.1');
    await drained;
    await first;
    expect(dispatch.view()).toEqual({ waiting: 0, running: 0 });
  });
});
