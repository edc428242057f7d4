/** The RabbitMQ engine against the suite that every engine has to pass. */
import { afterAll, describe, expect, it } from 'vitest';
import { capabilitiesOf, type EngineCase, testEngine } from '../../conformance/suite.ts';
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

    it.each(cases)('$name', async ({ run }) => {
      await expect(run()).resolves.toBeUndefined();
    });

    it('has nothing that does not apply', () => {
      expect(cases.filter(({ notApplicable }) => notApplicable)).toEqual([]);
    });
  },
);
