// An engine is sound when its tests bring it into every situation that it can come into and see at least four planted defects; each of the four ways not to be is
// told by one line, and the sound one beside it by none.

import { readFileSync } from 'node:fs';
import type { Capabilities } from '@doorbuster/messaging';
import { describe, expect, it } from 'vitest';
import { capabilityFaults, faultsOf, faultsWithServers, type Seen } from './faults.ts';

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

describe('what an engine states beside what is recorded of it', () => {
  type Stated = Readonly<Record<string, { readonly capabilities: Capabilities }>>;
  const file = new URL('../../docs/evidence/engines.json', import.meta.url);
  const { engines } = (JSON.parse(readFileSync(file, 'utf8')) as { result: { engines: Stated } }).result;
  const changed = (change: Partial<Capabilities>): Stated => ({
    ...engines,
    kafka: { capabilities: { ...(engines['kafka'] as Stated[string]).capabilities, ...change } },
  });

  it('is the same, or of another version of the server', () => {
    expect(capabilityFaults(engines, engines)).toEqual([]);
    expect(capabilityFaults(changed({ version: 'another' }), engines)).toEqual([]);
  });

  it('differs: told with both, by the name of the engine and what to do', () => {
    const delay = { support: 'none', maxMs: 0, resolutionMs: 0 } as const;
    const [line, ...others] = capabilityFaults(changed({ delay }), engines);
    expect(line).toMatch(/^kafka states delay \{"support":"none".+ has \{"support":.+: record again/);
    expect(others).toEqual([]);
    expect(capabilityFaults(engines, changed({ replay: 'none' }))).toHaveLength(1);
  });

  it('an engine that is not recorded differs in all that it states; without a record, or where no case connected, nothing is said', () => {
    const { kafka, ...others } = engines;
    expect(capabilityFaults(engines, others)).toHaveLength(Object.keys(kafka?.capabilities ?? {}).length - 1);
    expect(capabilityFaults(engines, undefined)).toEqual([]);
    expect(capabilityFaults({ kafka: {} }, engines)).toEqual([]);
  });
});
