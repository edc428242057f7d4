/** The Kafka engine against the suite that every engine has to pass. */
import { describe, expect, it } from 'vitest';
import { capabilitiesOf, registerCases, testEngine } from '../../conformance/suite.ts';
import { createKafkaFixture, kafkaUrl } from './conformance-fixture.ts';

const { capabilities, traits } =
  kafkaUrl === undefined ? {} : await capabilitiesOf(() => createKafkaFixture());
const cases = capabilities ? testEngine('kafka', capabilities, () => createKafkaFixture(), traits) : [];

describe.skipIf(kafkaUrl === undefined)('on a real Kafka (needs KAFKA_URL)', { timeout: 60_000 }, () => {
  registerCases(it, cases);

  it('names what does not apply', () => {
    expect(new Set(cases.map(({ notApplicable }) => notApplicable).filter(Boolean))).toEqual(
      new Set([
        'the engine has no broadcast',
        // Its own server is killed in cluster.int.test.ts.
        'the fixture has no server of its own that could be killed',
        'consumers drop what is not theirs, so nobody knows at publishing',
      ]),
    );
  });
});
