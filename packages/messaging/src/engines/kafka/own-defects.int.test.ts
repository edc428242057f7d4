/** Negative controls on the real broker: mistakes of this engine's own kind (`own-defects.ts`), in this process and in a child's, each seen by a case. */
import { describe, it } from 'vitest';
import { caseNamed, onFixture, registerControls } from '../../conformance/controls.ts';
import { limitPatience } from '../../conformance/fixture.ts';
import { type ConformanceCase, conformanceCases } from '../../conformance/suite.ts';
import { createKafkaFixture, kafkaUrl } from './conformance-fixture.ts';
import { kafkaCases } from './kafka-cases.ts';
import { logCases } from './log-cases.ts';
import { memberCases } from './member-cases.ts';
import { topologyCases } from './topology-cases.ts';
import { type OwnDefect, ownDefects, plantOwn } from './own-defects.ts';
import { redriveCases } from './redrive-cases.ts';
import { rewindCases } from './rewind-cases.ts';
import { standingCases } from './standing-cases.ts';

/** Part of the name of the case that sees the defect. */
const ownSeenBy: Readonly<Record<OwnDefect, string>> = {
  'a rewind leaves behind what waits beside the log': 'a correction that waits is handed out after a rewind',
  'a copy of a rewind is handed out beside what it stands for': 'also when nobody repeats it',
  'a rewind copies the copies of one that was killed': 'and is repeated',
  'the highest offset is committed': 'SIGKILL in the handler',
  'a hand-out is not written down': 'SIGKILL between receive and handle',
  'the key does not choose the partition': 'order per key: one message of a key',
  'no group heartbeat while a handler works': 'a handler that works longer than the session',
  'a member has another name each time': 'starts again by its name',
  'a member that hung does not ask whether it still is one': 'a process that hangs as a whole',
  'a displaced member takes its name back': 'of two processes by one name',
  'a copy that came before its confirm is waited for': 'read before its confirm',
  'a copy without a place takes the one it has in its own log': 'when its channel gets an order',
  'redrive forgets the sequence': 'sequencedDlq parks the head',
  'what is not due holds up what lies behind it': 'is not held up by one that was put off',
  'a retry is rounded up to a minute': 'is not held up by one that was put off',
  'a log is trimmed by the fastest subscription': 'a slow subscription finds everything',
  'records that were deleted are passed over in silence': 'what somebody deleted before it was read',
  'the end of a key is written as a value': 'the end of a key is a record without a value',
  'the ends of dead letters are not read': 'its letters end with it',
  'a member joins anew with handlers at work': 'while its partition goes to another',
  'a second copy of a letter is taken back again': 'redrive the same letters at once',
  'only the redrive ends its letters': 'its letters end with it',
  'a dead letter does not hold its key': 'blockKey holds the key',
  'what a new topic would get speaks for one that is there': 'gives no disk to who asks for it later',
  'only the first topic of a channel is asked': 'the weakest counts, be it the last',
  'a confirmation states what the options ask of new topics': 'gives no disk to who asks for it later',
  'what is no record of bindings binds nothing': 'leaves those in force that were known',
  'what was forgotten here is passed over for good': 'declared anew elsewhere is seen again',
  'what waits is deleted before the group is known to be empty': 'is not forgotten under its consumers',
  'topics are made without the sync that is stated': 'flushEachMessage makes every topic with a sync',
};

const cases: readonly ConformanceCase[] = [
  ...conformanceCases,
  ...kafkaCases,
  ...memberCases,
  ...redriveCases,
  ...logCases,
  ...rewindCases,
  ...standingCases,
  ...topologyCases,
];

// A healthy engine needs a third of it for each of these cases, the session of a killed process included; the start of a process is not counted.
const PATIENCE_MS = 9_000;
limitPatience(PATIENCE_MS);
/** Of a run with a defect, which waits in vain: less can only make it fail sooner. */
const VAIN_MS = 4_000;

describe.skipIf(kafkaUrl === undefined)(
  "planted defects of Kafka's own kind (needs KAFKA_URL)",
  { timeout: 60_000 },
  () => {
    registerControls(
      it,
      'kafka',
      (Object.keys(ownDefects) as OwnDefect[]).map((defect) => {
        const { name, run } = caseNamed(cases, ownSeenBy[defect]);
        return {
          defect,
          caughtBy: name,
          healthy: () => onFixture(() => createKafkaFixture(), run),
          async defective() {
            const undo = plantOwn(defect);
            limitPatience(VAIN_MS);
            try {
              await onFixture(() => createKafkaFixture(kafkaUrl, defect), run);
            } finally {
              limitPatience(PATIENCE_MS);
              undo();
            }
          },
        };
      }),
    );
  },
);
