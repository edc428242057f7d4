/** Negative controls on the real broker: defects planted between the toolkit and this engine, each seen by a case of the suite. */
import { describe, it } from 'vitest';
import { registerControls } from '../../conformance/controls.ts';
import { limitPatience } from '../../conformance/fixture.ts';
import {
  breakingControls,
  neverTryingAgain,
  plantedControls,
  type SeenBy,
} from '../../testing/planted-controls.ts';
import { createKafkaFixture, kafkaUrl } from './conformance-fixture.ts';

const seenBy: SeenBy = {
  'a retry is an ack': 'snooze comes back later',
  'a release is an ack': 'a graceful stop lets handlers finish',
  'dead letters are dropped': 'poison ends as a dead letter',
  'a dead letter is what the handler left': 'what a handler does to its copy',
  'what is malformed is dropped': 'a payload that is no CloudEvent and one that breaks',
  'the group of a dead letter is its raw text': 'dead letters are grouped by cause',
  'a discard does nothing': 'a discarded dead letter is gone',
  'a delay is ignored': 'a delayed message is not early',
  'a long delay holds up a shorter one': 'does not hold up a later one',
  'a priority is ignored': 'higher priorities first',
  'an expiry is ignored': 'an expired message is dropped',
  'the key is lost': 'order per key: one message of a key',
  'one key stops all': 'a key that fails does not stop another',
  'a dead letter frees its key': 'blockKey holds the key',
  'followers go on': 'sequencedDlq parks the head',
  'skip holds the key': 'skip lets the others pass',
  'every message comes twice': 'messages arrive once, oldest first',
  'prefetch is not kept': 'never more unsettled deliveries',
  'the age is that of the youngest': 'the age of the oldest message',
  'a confirmation claims too much': 'a confirmation states the durability',
  'bindings are ignored': ['direct routing: a subscription gets what', 'topic routing', 'headers routing'],
  'a rewind ignores the point': [
    'rewind to a time hands out what was published since',
    'rewind to an offset',
  ],
};

// A healthy engine needs a third of it for each of these cases, a killed process and its session included.
limitPatience(9_000);

const create = () => createKafkaFixture();

describe.skipIf(kafkaUrl === undefined)(
  'planted defects on Kafka (needs KAFKA_URL)',
  { timeout: 60_000 },
  () => {
    // Most of them wait in vain, which some can do at once. What breaks connections breaks those of all.
    registerControls(it.concurrent, 'kafka', plantedControls(seenBy, create));
    registerControls(it, 'kafka', breakingControls(create, neverTryingAgain));
  },
);
