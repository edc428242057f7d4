/** The RabbitMQ engine against the suite that every engine has to pass. */
import { afterAll, describe, expect, it } from 'vitest';
import { capabilitiesOf, type EngineCase, registerCases, testEngine } from '../../conformance/suite.ts';
import { createRabbitFixture, rabbitUrl, removeLadder } from './conformance-fixture.ts';

async function casesOnTheServer(): Promise<readonly EngineCase[]> {
  const { capabilities, traits } = await capabilitiesOf(() => createRabbitFixture());
  return testEngine('rabbitmq', capabilities, () => createRabbitFixture(), traits);
}

const cases = rabbitUrl === undefined ? [] : await casesOnTheServer();

describe.skipIf(rabbitUrl === undefined)(
  'on a real RabbitMQ (needs RABBITMQ_URL)',
  { timeout: 60_000 },
  () => {
    afterAll(() => removeLadder());

    registerCases(it, cases);

    it('only broadcast, replay and the death of a server that others use do not apply', () => {
      const reasons = cases.flatMap(({ notApplicable }) => notApplicable ?? []);
      expect([...new Set(reasons)]).toEqual([
        'the engine has no broadcast',
        'the engine keeps nothing that was settled',
        'the fixture has no server of its own that could be killed',
      ]);
    });
  },
);
