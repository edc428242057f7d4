/** Negative controls on the real broker: defects planted between the toolkit and this engine, and defects of its own, each seen by a case. */
import { describe, it } from 'vitest';
import { caseNamed, onFixture, registerControls } from '../../conformance/controls.ts';
import { limitPatience } from '../../conformance/fixture.ts';
import { plant, type PlantedDefect } from '../../conformance/planted-defects.ts';
import { type ConformanceCase, conformanceCases } from '../../conformance/suite.ts';
import { createKafkaFixture, kafkaUrl } from './conformance-fixture.ts';
import { kafkaCases } from './kafka-cases.ts';
import { memberCases } from './member-cases.ts';
import { type OwnDefect, ownDefects, plantOwn } from './own-defects.ts';

/** Part of the name of the case that sees the defect. */
const seenBy: Readonly<Partial<Record<PlantedDefect, string>>> = {
  'a retry is an ack': 'snooze comes back later',
  'a release is an ack': 'a graceful stop lets handlers finish',
  'dead letters are dropped': 'poison ends as a dead letter',
  'a delay is ignored': 'a delayed message is not early',
  'the key is lost': 'order per key: one message of a key',
  'every message comes twice': 'messages arrive once, oldest first',
  'a confirmation claims too much': 'a confirmation states the durability',
};

const ownSeenBy: Readonly<Record<OwnDefect, string>> = {
  'the highest offset is committed': 'SIGKILL in the handler',
  'a hand-out is not written down': 'SIGKILL between receive and handle',
  'the key does not choose the partition': 'order per key: one message of a key',
  'no group heartbeat while a handler works': 'a handler that works longer than the session',
  'a member has another name each time': 'starts again by its name',
  'a displaced member takes its name back': 'of two processes by one name',
  'a copy that came before its confirm is waited for': 'read before its confirm',
  'redrive forgets the sequence': 'sequencedDlq parks the head',
  'a dead letter does not hold its key': 'blockKey holds the key',
};

const cases: readonly ConformanceCase[] = [...conformanceCases, ...kafkaCases, ...memberCases];

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
        const { name, run } = caseNamed(cases, seenBy[defect] ?? 'nothing');
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

    registerControls(
      it,
      'kafka',
      (Object.keys(ownDefects) as OwnDefect[]).map((defect) => {
        const { name, run } = caseNamed(cases, ownSeenBy[defect]);
        return {
          defect,
          caughtBy: name,
          healthy: healthyOn(run),
          async defective() {
            const undo = plantOwn(defect);
            try {
              await onFixture(() => createKafkaFixture(kafkaUrl, defect), run);
            } finally {
              undo();
            }
          },
        };
      }),
    );
  },
);
