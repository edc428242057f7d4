/**
 * Negative controls: each planted defect has to be caught by the suite. For speed a control runs the case that should see it; it is
 * caught when that case, which passes without it in the same run, fails.
 */
import { describe, expect, it } from 'vitest';
import { createFileFixture, createInProcessFixture } from '../engines/embedded/conformance-fixture.ts';
import { caseNamed, onFixture, registerControls } from './controls.ts';
import { type EngineFixture, limitPatience } from './fixture.ts';
import { plant, type PlantedDefect, plantedDefects } from './planted-defects.ts';
import { conformanceCases } from './suite.ts';

/** Part of the name of the case that sees the defect. */
const seenBy: Readonly<Record<PlantedDefect, string>> = {
  'ack before handle': 'SIGKILL in the handler',
  'confirm before the commit': 'SIGKILL between confirms',
  'lease without a fence': 'a lost lease is handed out again',
  'no heartbeat': 'a handler longer than its lease',
  'settlements are lost': 'what was settled before a kill',
  'a retry is an ack': 'snooze comes back later',
  'a release is an ack': 'a graceful stop lets handlers finish',
  'the retry state is forgotten': 'a throw is tried again by the policy',
  'abandoned hand-outs are not counted': 'a message that kills its process',
  'dead letters are dropped': 'poison ends as a dead letter',
  'dead letters forget their history': 'poison ends as a dead letter',
  'redrive takes everything, whatever the filter': 'redrive by filter keeps the id',
  'a delay is ignored': 'a delayed message is not early',
  'a priority is ignored': 'higher priorities first',
  'an expiry is ignored': 'an expired message is dropped',
  'the key is lost': 'order per key: one message of a key',
  'deliveries are reversed': 'messages arrive once, oldest first',
  'every message comes twice': 'messages arrive once, oldest first',
  'one of a batch is not stored': 'messages arrive once, oldest first',
  'prefetch is not kept': 'never more unsettled deliveries',
  'a confirmation claims too much': 'a confirmation states the durability',
  'bindings are ignored': 'direct routing: a subscription gets what',
  'bindings are never replaced': 'bindings that are given again replace',
  'an unroutable message is confirmed': 'a message that no binding takes',
  'peek takes': 'peek shows what waits',
  'a rewind ignores the point': 'rewind to a time hands out what was published since',
  'a dry run of a rewind moves': 'a dry run of a rewind',
  'a rewind does nothing': 'rewind to the earliest',
  'an edited redrive is a plain one': 'an edited redrive is a new message',
  'an edited redrive reaches all subscriptions': 'on a keyed channel the edited head',
  'large headers are dropped': 'headers of more than 64 KiB',
  'an id that came before is swallowed': 'an id that is published twice',
  'large messages are cut': 'a message larger than the engine takes',
};

// A healthy engine needs a tenth of it for each of these cases, the start of a process included.
limitPatience(4_000);

async function defectiveFixture(defect: PlantedDefect, withProcesses: boolean): Promise<EngineFixture> {
  const real = await fixtureOf(withProcesses);
  const child = real.child && {
    module: new URL('../engines/embedded/defective-child.ts', import.meta.url),
    argument: JSON.stringify({ ...(JSON.parse(real.child.argument) as object), defect }),
  };
  return { ...real, open: () => plant(defect, real.open()), ...(child ? { child } : {}) };
}

const fixtureOf = (withProcesses: boolean): Promise<EngineFixture> =>
  withProcesses ? createFileFixture() : createInProcessFixture();

describe('planted defects', { timeout: 30_000 }, () => {
  registerControls(
    it,
    'embedded',
    (Object.keys(plantedDefects) as PlantedDefect[]).map((defect) => {
      const { name, run } = caseNamed(conformanceCases, seenBy[defect]);
      const withProcesses = /kill/i.test(name);
      return {
        defect,
        caughtBy: name,
        healthy: () => onFixture(() => fixtureOf(withProcesses), run),
        defective: () => onFixture(() => defectiveFixture(defect, withProcesses), run),
      };
    }),
  );

  it('a case that fails anyway, and one that passes in spite of it, are no control', async () => {
    const tests: [name: string, run: () => Promise<void>][] = [];
    const meta = {};
    const register = (name: string, run: (context: { task: { meta: object } }) => Promise<void>): unknown =>
      tests.push([name, () => run({ task: { meta } })]);
    const pass = async (): Promise<void> => {};
    const fail = (): Promise<void> => Promise.reject(new Error('the server is away\nat line 3'));
    registerControls(register, 'nothing', [
      { defect: 'a', caughtBy: 'one', healthy: fail, defective: fail },
      { defect: 'b', caughtBy: 'two', healthy: pass, defective: pass },
      { defect: 'c', caughtBy: 'three', healthy: pass, defective: fail },
    ]);
    const [failsAnyway, passes, good] = tests.map(([, run]) => run);
    await expect(failsAnyway?.()).rejects.toThrow(
      'the case fails without the defect too: the server is away',
    );
    await expect(passes?.()).rejects.toThrow('the case passed in spite of the defect');
    await good?.();
    expect(meta).toEqual({
      control: { of: 'nothing', defect: 'c', caughtBy: 'three', failure: 'the server is away' },
    });
    expect(tests.map(([name]) => name)).toContain('nothing: three: catches "c"');
  });
});
