/** The RabbitMQ engine against the suite that every engine has to pass. */
import { afterAll, describe, expect, it } from 'vitest';
import { capabilitiesOf, testEngine } from '../../conformance/suite.ts';
import { createRabbitFixture, rabbitUrl, removeLadder } from './conformance-fixture.ts';

const without = 'not run: RABBITMQ_URL names no server';

if (rabbitUrl === undefined) describe.skip(`the RabbitMQ engine (${without})`, () => it(without, () => {}));
else {
  const { capabilities, traits } = await capabilitiesOf(() => createRabbitFixture());
  const cases = testEngine('rabbitmq', capabilities, () => createRabbitFixture(), traits);

  describe('on a real broker', { timeout: 60_000 }, () => {
    afterAll(() => removeLadder());

    it.each(cases)('$name', async ({ run }) => {
      await expect(run()).resolves.toBeUndefined();
    });

    it('has nothing that does not apply', () => {
      expect(cases.filter(({ notApplicable }) => notApplicable)).toEqual([]);
    });
  });
}
