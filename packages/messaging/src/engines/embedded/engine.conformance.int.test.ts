/** The embedded engine against the suite that every engine has to pass, alone on a file and in memory. `sharing/` has the file that processes share. */
import { describe, expect, it } from 'vitest';
import { capabilitiesOf, type EngineCase, registerCases, testEngine } from '../../conformance/suite.ts';
import { createFileFixture, createInProcessFixture } from './conformance-fixture.ts';

const file = await capabilitiesOf(createFileFixture);
const fileCases = testEngine('embedded', file.capabilities, createFileFixture, file.traits);
const inProcess = await capabilitiesOf(createInProcessFixture);
const inProcessCases = testEngine(
  'embedded in process',
  inProcess.capabilities,
  createInProcessFixture,
  inProcess.traits,
);
const left = [
  'the engine has no broadcast',
  'the fixture has no connection that could break',
  'the fixture has no server of its own that could be killed',
];

describe('on a file', () => {
  registerCases(it, fileCases);

  it('leaves out broadcast and what needs a connection or a server, and only that', () => {
    expect(reasonsOf(fileCases)).toEqual(left);
  });
});

describe('in this thread, in memory', () => {
  registerCases(it, inProcessCases);

  it('leaves out that and the cases with SIGKILL, and only those', () => {
    expect(reasonsOf(inProcessCases)).toEqual([...left, 'the fixture has no store that outlives a process']);
    const killed = inProcessCases.filter(({ notApplicable }) =>
      notApplicable?.includes('outlives a process'),
    );
    expect(killed.map(({ name }) => name)).toEqual(
      inProcessCases
        .map(({ name }) => name)
        .filter((name) => /SIGKILL|before a kill|kills its process/.test(name)),
    );
  });
});

function reasonsOf(cases: readonly EngineCase[]): readonly string[] {
  return [...new Set(cases.flatMap(({ notApplicable }) => notApplicable ?? []))];
}
