/** The whole suite over a shared file: every engine a client of a host in another process, and every engine a host itself. */
import { afterAll, describe, expect, it } from 'vitest';
import { capabilitiesOf, registerCases, testEngine } from '../../../conformance/suite.ts';
import { createHostingFixture, createSharedFixture, endKeeper } from '../conformance-fixture.ts';

const client = await capabilitiesOf(createSharedFixture);
const clientCases = testEngine('embedded as client', client.capabilities, createSharedFixture, client.traits);
const host = await capabilitiesOf(createHostingFixture);
const hostCases = testEngine('embedded as host', host.capabilities, createHostingFixture, host.traits);

describe('as clients of a host in another process', { timeout: 60_000 }, () => {
  afterAll(endKeeper);
  registerCases(it, clientCases);

  it('has nothing but broadcast that does not apply, and states many processes', () => {
    expect(clientCases.flatMap(({ notApplicable }) => notApplicable ?? [])).toEqual([
      'the engine has no broadcast',
    ]);
    expect(client.capabilities.processes).toBe('many');
  });
});

describe('as the host', { timeout: 60_000 }, () => {
  registerCases(it, hostCases);
});
