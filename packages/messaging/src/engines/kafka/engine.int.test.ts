/** What is peculiar to Kafka, on a real broker. */
import { describe, expect, it } from 'vitest';
import { createKafkaFixture, kafkaUrl } from './conformance-fixture.ts';
import { kafkaCases } from './kafka-cases.ts';
import { memberCases } from './member-cases.ts';
import { logCases } from './log-cases.ts';
import { redriveCases } from './redrive-cases.ts';
import { rewindCases } from './rewind-cases.ts';
import { topologyCases } from './topology-cases.ts';
import { standingCases } from './standing-cases.ts';

describe.skipIf(kafkaUrl === undefined)('facts of Kafka (needs KAFKA_URL)', { timeout: 60_000 }, () => {
  it.each([
    ...kafkaCases,
    ...memberCases,
    ...redriveCases,
    ...logCases,
    ...rewindCases,
    ...standingCases,
    ...topologyCases,
  ])('$name', async ({ run }) => {
    const fixture = await createKafkaFixture();
    try {
      await expect(run(fixture)).resolves.toBeUndefined();
    } finally {
      await fixture.destroy();
    }
  });
});
