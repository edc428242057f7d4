import { describe, expect, it } from 'vitest';
import { createDispatch } from './dispatch.ts';

function stage(options: {
  concurrency: number;
  capacity?: number;
  mayStart?: (campaignId: string) => boolean;
}) {
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
    for (const id of ['hot.1', 'hot.2', 'hot.3', 'hot.4', 'cold.1']) void dispatch.add(id.split('.')[0]!, id);
    await end('hot.1');
    await end('hot.2');
    await end('hot.3');
    expect(started.indexOf('cold.1')).toBeLessThan(started.indexOf('hot.4'));
  });
  it('runs an id once however often it is rung', async () => {
    const { dispatch, started, end } = stage({ concurrency: 5 });
    const runs = [dispatch.add('a', 'a.1'), dispatch.add('a', 'a.1'), dispatch.add('a', 'a.1')];
    await end('a.1');
    await Promise.all(runs);
    expect(started).toEqual(['a.1']);
  });
  it('leaves a campaign without room alone and serves the others', () => {
    const full = new Set(['slow']);
    const { dispatch, started } = stage({ concurrency: 5, mayStart: (campaignId) => !full.has(campaignId) });
    void dispatch.add('slow', 'slow.1');
    void dispatch.add('fast', 'fast.1');
    expect(started).toEqual(['fast.1']);
    full.clear();
    dispatch.look();
    expect(started).toEqual(['fast.1', 'slow.1']);
  });
  it('turns away what does not fit, at once', async () => {
    const { dispatch } = stage({ concurrency: 1, capacity: 1 });
    void dispatch.add('a', 'a.1');
    void dispatch.add('a', 'a.2');
    await dispatch.add('a', 'a.3');
    expect(dispatch.view()).toEqual({ waiting: 1, running: 1 });
    expect(dispatch.has('a.3')).toBe(false);
  });
  it('drain lets go of what waits and waits for what runs', async () => {
    const { dispatch, end } = stage({ concurrency: 1 });
    const first = dispatch.add('a', 'a.1');
    await Promise.all([
      dispatch.add('a', 'a.2').then(() => undefined),
      Promise.resolve(dispatch.drain).then(async (drain) => {
        const drained = drain();
        await end('a.1');
        await drained;
      }),
    ]);
    await first;
    expect(dispatch.view()).toEqual({ waiting: 0, running: 0 });
  });
});
