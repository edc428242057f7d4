import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { defects } from './defects.ts';
import { type Failpoint, failpoints } from './failpoints.ts';
import { cyclesPerLife, planLife } from './plan.ts';

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
