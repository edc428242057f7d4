// An engine is sound when its tests bring it into every situation that it can come into and see at least four planted defects; each of the four ways not to be is
// told by one line, and the sound one beside it by none.

import { describe, expect, it } from 'vitest';
import { faultsOf, faultsWithServers, type Seen } from './faults.ts';

const defects = (caught: readonly boolean[]): Seen['defects'] => ({
  planted: caught.length,
  caught: caught.filter(Boolean).length,
  list: caught.map((one, n) => ({ of: 'kafka', defect: `d${n}`, caughtBy: 'the case', caught: one })),
});
const sound: Seen = {
  situations: { SIGKILL: 2, unroutable: 'nobody knows' },
  defects: defects([true, true, true, true]),
};
const lost: Seen = { ...sound, situations: { ...sound.situations, SIGKILL: 0 } };

describe('faults of an engine', () => {
  it('a sound one has none', () => {
    expect(faultsOf({ kafka: sound })).toEqual([]);
  });

  it.each<readonly [string, Seen, string]>([
    ['a situation that no test brings it into', lost, 'no test of it passed: kafka: SIGKILL'],
    [
      'a defect that nobody saw',
      { ...sound, defects: defects([true, true, true, true, false]) },
      'planted and not caught: kafka: "d4", by "the case"',
    ],
    [
      'three planted defects',
      { ...sound, defects: defects([true, true, true]) },
      'kafka: fewer than 4 planted defects',
    ],
    ['none planted', { ...sound, defects: defects([]) }, 'kafka: fewer than 4 planted defects'],
  ])('%s', (_, seen, line) => {
    expect(faultsOf({ redis: sound, kafka: seen })).toEqual([line]);
  });

  it('one whose server is not there is not asked, one that needs none always is', () => {
    const engines = { kafka: lost, embedded: lost };
    const own = 'no test of it passed: embedded: SIGKILL';
    expect(faultsWithServers(engines, {})).toEqual([own]);
    expect(faultsWithServers(engines, { KAFKA_URL: '' })).toEqual([own]);
    expect(faultsWithServers(engines, { KAFKA_URL: 'kafka://somewhere' })).toEqual([
      'no test of it passed: kafka: SIGKILL',
      own,
    ]);
  });
});
