import { describe, expect, it } from 'vitest';
import { emailOf, memberIdOf, planCrowd } from './crowd-plan.ts';
import { seededRandom } from './random.ts';

describe('the plan of a crowd', () => {
  const acts = planCrowd(20_000, 7, 2_000);

  it('has one act for each member', () => {
    expect(new Set(acts.map((act) => act.member)).size).toBe(20_000);
    expect(Math.max(...acts.map((act) => act.member))).toBe(19_999);
  });

  it('is the same for the same seed, and another for another', () => {
    expect(planCrowd(20_000, 7, 2_000)).toEqual(acts);
    expect(planCrowd(20_000, 8, 2_000)).not.toEqual(acts);
  });

  it('comes in order of arrival, most at once and some late', () => {
    const times = acts.map((act) => act.arrivesAfterMs);
    expect(times).toEqual(times.toSorted((a, b) => a - b));
    expect(times.at(-1)).toBeLessThanOrEqual(2_000);
    const late = times.filter((ms) => ms > 0).length / times.length;
    expect(late).toBeGreaterThan(0.12);
    expect(late).toBeLessThan(0.18);
  });

  it('has people of every kind in it', () => {
    const count = (kind: string) => acts.filter((act) => act.kind === kind).length;
    for (const kind of ['double', 'retry', 'early', 'bad-json', 'bad-body', 'bad-session'])
      expect(count(kind), kind).toBeGreaterThan(100);
    expect(count('entry')).toBeGreaterThan(14_000);
  });

  it('does not let members in by their number', () => {
    const first = acts.slice(0, 500).map((act) => act.member);
    expect(first.filter((member) => member < 500).length).toBeLessThan(50);
  });

  it('names members by number, in width', () => {
    expect(memberIdOf(0)).toBe('member-000001');
    expect(emailOf(41)).toBe('member-000042@shop.example');
  });
});

describe('the seeded generator', () => {
  it('draws evenly from 0 to below 1', () => {
    const random = seededRandom(1);
    const draws = Array.from({ length: 10_000 }, random);
    expect(Math.min(...draws)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...draws)).toBeLessThan(1);
    const mean = draws.reduce((sum, draw) => sum + draw, 0) / draws.length;
    expect(Math.abs(mean - 0.5)).toBeLessThan(0.02);
  });
});
