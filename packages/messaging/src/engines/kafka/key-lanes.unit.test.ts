import { describe, expect, it } from 'vitest';
import { KeyLanes, type Ranked, type Stage } from './key-lanes.ts';

const entry = (rank: number, stage: Stage = 'ready'): Ranked => ({ key: 'k', rank, stage });

describe('a lane', () => {
  it('hands out its lowest rank, whenever it came', () => {
    const lanes = new KeyLanes<Ranked>(() => undefined);
    for (const rank of [5, 3, 9]) lanes.add('k', entry(rank));
    expect(lanes.head('k')?.rank).toBe(3);
    expect(lanes.waitingCount()).toBe(2);
  });

  it.each(['waiting', 'out', 'moved', 'parking'] as const)('waits while its first is %s', (stage) => {
    const lanes = new KeyLanes<Ranked>(() => undefined);
    const first = entry(1, stage);
    lanes.add('k', first);
    lanes.add('k', entry(2));
    expect(lanes.head('k')).toBeUndefined();
    lanes.remove('k', first);
    expect(lanes.head('k')?.rank).toBe(2);
  });

  it('knows another copy of a place, and does not take a message for its own copy', () => {
    const lanes = new KeyLanes<Ranked>(() => undefined);
    const original = entry(1, 'out');
    lanes.add('k', original);
    lanes.add('k', entry(2));
    expect(lanes.hasOther('k', original)).toBe(false);
    lanes.add('k', entry(1, 'waiting'));
    expect(lanes.hasOther('k', original)).toBe(true);
    expect(lanes.hasOther('j', original)).toBe(false);
  });

  it('lets pass what is before a dead letter and holds what is behind it', () => {
    const lanes = new KeyLanes<Ranked>(() => 4);
    lanes.add('k', entry(3));
    lanes.add('k', entry(5));
    lanes.add('k', entry(6));
    expect(lanes.head('k')?.rank).toBe(3);
    expect(lanes.takeHeld('k')).toEqual([]);
    lanes.remove('k', lanes.find('k', 3) as Ranked);
    expect(lanes.head('k')).toBeUndefined();
    expect(lanes.takeHeld('k').map(({ rank }) => rank)).toEqual([5, 6]);
    expect(lanes.takeHeld('k')).toEqual([]);
  });
});
