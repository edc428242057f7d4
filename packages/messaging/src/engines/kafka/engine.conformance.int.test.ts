/** The Kafka engine against the suite that every engine has to pass. */
import { describe, expect, it } from 'vitest';
import { capabilitiesOf, type EngineCase, testEngine } from '../../conformance/suite.ts';
import { createKafkaFixture, kafkaUrl } from './conformance-fixture.ts';

async function casesOnTheServer(): Promise<readonly EngineCase[]> {
  const { capabilities, traits } = await capabilitiesOf(() => createKafkaFixture());
  return testEngine('kafka', capabilities, () => createKafkaFixture(), traits);
}

const cases = kafkaUrl === undefined ? [] : await casesOnTheServer();

describe.skipIf(kafkaUrl === undefined)('on a real Kafka (needs KAFKA_URL)', { timeout: 60_000 }, () => {
  it.each(cases)('$name', async ({ run }) => {
    await expect(run()).resolves.toBeUndefined();
  });

  it('has nothing that does not apply', () => {
    expect(cases.filter(({ notApplicable }) => notApplicable)).toEqual([]);
  });
});
