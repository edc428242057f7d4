/**
 * Negative controls on the embedded engine: every defect that can be planted between the toolkit and an engine has to be caught by the suite. For speed a
 * control runs the case that should see it; it is caught when that case, which passes without it in the same run, fails. `sharing/` has those of its own.
 */
import { describe, it } from 'vitest';
import { type Control, onFixture, registerControls } from '../../conformance/controls.ts';
import { type EngineFixture, limitPatience } from '../../conformance/fixture.ts';
import { plant, type PlantedDefect } from '../../conformance/planted-defects.ts';
import { pairsOf } from '../../testing/planted-controls.ts';
import { createFileFixture, createInProcessFixture } from './conformance-fixture.ts';

/** Part of the name of the case, or of each of the cases, that sees the defect. */
const seenBy: Readonly<Record<PlantedDefect, string | readonly string[]>> = {
  'ack before handle': ['SIGKILL in the handler', 'SIGKILL between handle and ack'],
  'confirm before the commit': 'SIGKILL between confirms',
  'lease without a fence': 'a lost lease is handed out again',
  'no heartbeat': 'a handler longer than its lease',
  'settlements are lost': 'what was settled before a kill',
  'a retry is an ack': 'snooze comes back later',
  'a release is an ack': [
    'a graceful stop lets handlers finish',
    'competing consumers share a subscription',
    'consumers join and leave while messages flow',
  ],
  'the retry state is forgotten': ['a throw is tried again by the policy', 'everything survives a restart'],
  'a state that is no JSON is dropped': 'a state beside a message that no toolkit wrote',
  'abandoned hand-outs are not counted': 'a message that kills its process',
  'dead letters are dropped': 'poison ends as a dead letter',
  'a dead letter is what the handler left': 'what a handler does to its copy',
  'what is malformed is dropped': 'a payload that is no CloudEvent and one that breaks',
  'the group of a dead letter is its raw text': 'dead letters are grouped by cause',
  'a discard does nothing': 'a discarded dead letter is gone',
  'dead letters forget their history': 'poison ends as a dead letter',
  'redrive takes everything, whatever the filter': 'redrive by filter keeps the id',
  'a delay is ignored': 'a delayed message is not early',
  'a delay is claimed and ignored': 'a delayed message is not early',
  'a long delay holds up a shorter one': 'does not hold up a later one',
  'a priority is ignored': 'higher priorities first',
  'an expiry is ignored': 'an expired message is dropped',
  'the key is lost': 'order per key: one message of a key',
  'one key stops all': 'a key that fails does not stop another',
  'a dead letter frees its key': 'blockKey holds the key',
  'followers go on': 'sequencedDlq parks the head',
  'skip holds the key': 'skip lets the others pass',
  'deliveries are reversed': 'messages arrive once, oldest first',
  'every message comes twice': 'messages arrive once, oldest first',
  'one of a batch is not stored': 'messages arrive once, oldest first',
  'prefetch is not kept': 'never more unsettled deliveries',
  'a confirmation claims too much': 'a confirmation states the durability',
  'bindings are ignored': [
    'direct routing: a subscription gets what',
    'topic routing',
    'headers routing',
    'what a binding took waits for its subscription',
  ],
  'bindings are never replaced': ['bindings that are given again replace', 'what waits keeps the bindings'],
  'an unroutable message is confirmed': 'a message that no binding takes',
  'peek takes': 'peek shows what waits',
  'a rewind ignores the point': [
    'rewind to a time hands out what was published since',
    'rewind to an offset',
  ],
  'a dry run of a rewind moves': 'a dry run of a rewind',
  'a rewind does nothing': [
    'rewind to the earliest',
    'rewind to a time before everything',
    'rewind to the latest leaves what waits behind',
    'what was settled stays for its time',
  ],
  'an edited redrive is a plain one': [
    'an edited redrive is a new message',
    'an edited message that fails again',
    'a malformed letter that has no id',
  ],
  'an edited redrive reaches all subscriptions': 'on a keyed channel the edited head',
  'headers of strangers are dropped': 'a foreign CloudEvent with a long header name',
  'large headers are dropped': 'headers of more than 64 KiB',
  'an id that came before is swallowed': 'an id that is published twice',
  'the age is that of the youngest': 'the age of the oldest message',
  'what is out is shown as waiting': 'what waits and what is out',
  'what waits for its time is shown as ready': 'waits for its next attempt as delayed',
  'what is scheduled is not shown': 'published with a delay as scheduled',
  'dead letters are shown without their groups': 'counts dead letters by group',
  'subscriptions of a channel share their counts': 'each subscription by itself',
  'large messages are cut': 'a message larger than the engine takes',
  'only the first consumer is served': [
    'each named subscription gets every message',
    'fan-out on a channel with routing',
  ],
  'what nobody consumes yet is kept in memory': 'a delay survives a restart',
  'text is kept in a single byte a character': 'text of every kind arrives',
  'bytes are read as text': 'an encoding of bytes goes through',
  'bindings that are not given take everything': 'bindings that are not given again stay',
  'who is to be forgotten is not asked for consumers': 'is not forgotten under its consumers',
  'an unknown subscription is an empty one': [
    'peek into a subscription that nobody declared',
    'a rewind of a subscription that nobody declared',
    'rewind is refused while the subscription has consumers',
    'rewind is refused by name where nothing is kept',
  ],
  'peek passes over what is malformed': 'peek shows a payload that is no CloudEvent as it is',
  'a rewind takes dead letters with it': 'another subscription does not notice a rewind',
  'what waits behind its key is shown as ready too': 'the view counts what waits behind its key once',
  'an expiry that is no time has passed': 'an expiry that is no time expires nothing',
};

// A healthy engine needs a tenth of it for each of these cases, the start of a process included.
limitPatience(4_000);

async function defectiveFixture(defect: PlantedDefect, withProcesses: boolean): Promise<EngineFixture> {
  const real = await fixtureOf(withProcesses);
  const child = real.child && {
    module: new URL('./defective-child.ts', import.meta.url),
    argument: JSON.stringify({ ...(JSON.parse(real.child.argument) as object), defect }),
  };
  return { ...real, open: () => plant(defect, real.open()), ...(child ? { child } : {}) };
}

const fixtureOf = (withProcesses: boolean): Promise<EngineFixture> =>
  withProcesses ? createFileFixture() : createInProcessFixture();

const controlsOf = (withProcesses: boolean): readonly Control[] =>
  pairsOf(seenBy)
    .filter(({ seenBy: { name } }) => /kill/i.test(name) === withProcesses)
    .map(({ defect, seenBy: { name, run } }) => ({
      defect,
      caughtBy: name,
      healthy: () => onFixture(() => fixtureOf(withProcesses), run),
      defective: () => onFixture(() => defectiveFixture(defect, withProcesses), run),
    }));

describe('planted defects on the embedded engine', { timeout: 30_000 }, () => {
  registerControls(it, 'embedded', controlsOf(true));
  // Most of them wait in vain, which some can do at once.
  registerControls(it.concurrent, 'embedded', controlsOf(false));
});
