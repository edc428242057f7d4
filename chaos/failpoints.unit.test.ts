import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { defects } from './defects.ts';
import { type Failpoint, failpoints } from './failpoints.ts';
import { broken } from './life.ts';
import { exitCodeOf, isCatch, judgedFrom, leastShare, weaknesses } from './outcome.ts';
import { cyclesPerLife, planLife, planLives } from './plan.ts';

const packages = fileURLToPath(new URL('../packages', import.meta.url));
const sources = globSync('*/src/**/*.ts', { cwd: packages }).map((path) => `/${path}`);

/** How often the text stands in the one file whose path ends so. */
function timesIn(file: string, text: string): number {
  const found = sources.filter((path) => path.endsWith(file));
  expect(found, file).toHaveLength(1);
  return readFileSync(`${packages}${found[0]}`, 'utf8').split(text).length - 1;
}

describe('what is changed in the sources', () => {
  it.each(Object.entries<Failpoint>(failpoints))('the place of %s is there, once', (_, { file, anchor }) => {
    expect(timesIn(file, anchor), anchor).toBe(1);
  });

  it.each(Object.entries(defects))('the places of %s are there, once', (_, changes) => {
    for (const { file, from } of changes) expect(timesIn(file, from), from).toBe(1);
  });
});

describe('plans', () => {
  it('are the same for the same life, and others for the next', () => {
    expect(planLife(7, 10)).toEqual(planLife(7, 10));
    expect(planLife(8, 10)).not.toEqual(planLife(7, 10));
  });

  it('of a last, short life are those of the whole life that the printed command runs again', () => {
    const lives = planLives(3, 2 * cyclesPerLife + 4);
    expect(lives.map((plans) => plans.length)).toEqual([cyclesPerLife, cyclesPerLife, 4]);
    for (const [i, plans] of lives.entries())
      for (const [at, plan] of plans.entries())
        expect(plan, plan.name).toEqual(planLives(3 + i, cyclesPerLife)[0]?.[at]);
    // Control: drawn for four cycles it would have been another plan under the same name.
    expect(planLife(5, 4)).not.toEqual(lives[2]);
  });

  it('reach each failpoint, the stop and all kinds of campaign within a round, and half of them are plain kills', () => {
    const plans = Array.from({ length: 8 }, (_, life) => planLife(life, cyclesPerLife)).flat();
    const met = new Set(plans.flatMap(({ blow, beside }) => (beside === null ? [blow] : [blow, beside])));
    expect([...met].sort()).toEqual([...Object.keys(failpoints), 'kill', 'stop'].sort());
    expect(new Set(plans.map(({ crowding }) => crowding.kind)).size).toBe(4);
    expect(plans.filter(({ blow, beside }) => blow === 'kill' && beside === null)).toHaveLength(
      plans.length / 2,
    );
  });

  it('begin every life with a plain kill', () => {
    for (let life = 0; life < 50; life += 1)
      expect(planLife(life, 1 + (life % cyclesPerLife))[0]).toMatchObject({ blow: 'kill', beside: null });
  });

  it('let every blow fall while more acknowledgements are to come', () => {
    for (let life = 0; life < 50; life += 1)
      for (const { blowAt, crowding, connections } of planLife(life, cyclesPerLife)) {
        const all = crowding.units + crowding.waitlistLimit;
        expect(all * (1 - blowAt)).toBeGreaterThan(connections);
      }
  });
});

describe('what a run shows', () => {
  const met = Object.fromEntries(Object.keys(failpoints).map((name) => [name, 1]));
  const good = { cycles: judgedFrom, violations: 0, killsWhileAdmittingShare: leastShare, failpoints: met };

  it('nothing is wrong with one that struck as it should', () => {
    expect(weaknesses(good)).toEqual([]);
    expect(exitCodeOf(good, judgedFrom)).toBe(0);
  });

  it.each([
    [
      'kills beside the crowd',
      { killsWhileAdmittingShare: leastShare - 0.001 },
      'fell while entries were taken',
    ],
    [
      'a failpoint that was never met',
      { failpoints: { ...met, 'before-commit': 0 } },
      'never met: before-commit',
    ],
  ])('%s: 6, and why; a short run cannot say', (_, change, why) => {
    expect(weaknesses({ ...good, ...change }).join()).toContain(why);
    expect(exitCodeOf({ ...good, ...change }, judgedFrom)).toBe(6);
    const short = { ...good, ...change, cycles: judgedFrom - 1 };
    expect(weaknesses(short)).toEqual([]);
    expect(exitCodeOf(short, judgedFrom - 1)).toBe(0);
  });

  it('a violation, and cycles that were not run: 6', () => {
    expect(exitCodeOf({ ...good, violations: 1 }, judgedFrom)).toBe(6);
    expect(exitCodeOf(good, judgedFrom + 1)).toBe(6);
  });

  it('a cycle that broke off is a fault and no catch of a defect, unless a fault had been seen before', () => {
    const late = broken({ name: 'life-1-cycle-1' }, [], 'no end after 90000 ms');
    expect(late.faults).toHaveLength(1);
    expect(isCatch(late)).toBe(false);
    expect(isCatch(broken({ name: 'life-1-cycle-1' }, ['half an import is there'], 'refused'))).toBe(true);
    expect(isCatch({ faults: ['a unit too many'], broken: false })).toBe(true);
    expect(isCatch({ faults: [], broken: false })).toBe(false);
  });
});
