/** The embedded engine against the suite that every engine has to pass. */
import { describe, expect, it } from 'vitest';
import { capabilitiesOf, registerCases, testEngine } from '../../conformance/suite.ts';
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

describe('on a file', () => {
  registerCases(it, fileCases);

  it('has nothing that does not apply', () => {
    expect(fileCases.filter(({ notApplicable }) => notApplicable)).toEqual([]);
  });
});

describe('in this thread, in memory', () => {
  registerCases(it, inProcessCases);

  it('leaves out the cases with SIGKILL, and only those, with the reason', () => {
    const left = inProcessCases.filter(({ notApplicable }) => notApplicable);
    expect(new Set(left.map(({ notApplicable }) => notApplicable))).toEqual(
      new Set(['the fixture has no store that outlives a process']),
    );
    expect(left.map(({ name }) => name)).toEqual(
      inProcessCases.map(({ name }) => name).filter((name) => /kill/i.test(name)),
    );
  });
});
