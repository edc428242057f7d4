/** Negative controls on the real broker: defects planted between the toolkit and this engine, each seen by a case of the suite. */
import { describe, it } from 'vitest';
import { caseNamed, onFixture, registerControls } from '../../conformance/controls.ts';
import { limitPatience } from '../../conformance/fixture.ts';
import { plant, type PlantedDefect } from '../../conformance/planted-defects.ts';
import { type ConformanceCase, conformanceCases } from '../../conformance/suite.ts';
import { createKafkaFixture, kafkaUrl } from './conformance-fixture.ts';

/** Part of the name of the case that sees the defect. */
const seenBy: Readonly<Partial<Record<PlantedDefect, string>>> = {
  'a retry is an ack': 'snooze comes back later',
  'a release is an ack': 'a graceful stop lets handlers finish',
  'dead letters are dropped': 'poison ends as a dead letter',
  'a delay is ignored': 'a delayed message is not early',
  'a long delay holds up a shorter one': 'does not hold up a later one',
  'the key is lost': 'order per key: one message of a key',
  'every message comes twice': 'messages arrive once, oldest first',
  'the age is that of the youngest': 'the age of the oldest message',
  'a confirmation claims too much': 'a confirmation states the durability',
};

// A healthy engine needs a third of it for each of these cases, a killed process and its session included.
limitPatience(9_000);

const healthyOn = (run: ConformanceCase['run']) => (): Promise<void> =>
  onFixture(() => createKafkaFixture(), run);

describe.skipIf(kafkaUrl === undefined)(
  'planted defects on Kafka (needs KAFKA_URL)',
  { timeout: 60_000 },
  () => {
    registerControls(
      it,
      'kafka',
      (Object.keys(seenBy) as PlantedDefect[]).map((defect) => {
        const { name, run } = caseNamed(conformanceCases, seenBy[defect] ?? 'nothing');
        return {
          defect,
          caughtBy: name,
          healthy: healthyOn(run),
          defective: () =>
            onFixture(
              () => createKafkaFixture(),
              (fixture) => run({ ...fixture, open: () => plant(defect, fixture.open()) }),
            ),
        };
      }),
    );
  },
);
