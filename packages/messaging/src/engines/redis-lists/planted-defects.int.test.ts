/** Negative controls of the engine on lists: mistakes planted into its scripts on their way to the server. Each has to be caught by the case that is there for it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { caseNamed, onFixture, registerControls } from '../../conformance/controls.ts';
import { limitPatience } from '../../conformance/fixture.ts';
import { conformanceCases } from '../../conformance/suite.ts';
import { hastyLook } from '../../redis/testing/hasty-look.ts';
import { neverBack } from '../../redis/testing/never-back.ts';
import { breakingControls, plantedControls, type SeenBy } from '../../testing/planted-controls.ts';
import { planted } from '../../testing/replacing.ts';
import { listsFixture } from './conformance-fixture.ts';
import { redisListsEngineOn } from './engine.ts';
import { listsCases } from './lists-cases.ts';
import { planting } from '../../redis/testing/planted-scripts.ts';
import { listsScriptTexts } from './scripts.ts';

const url = process.env['REDIS_URL'];

interface Defect {
  readonly name: string;
  readonly from: string;
  readonly to: string;
  /** Part of the name of the case that has to see it. */
  readonly seenBy: string;
}

const defects: readonly Defect[] = [
  {
    name: 'a subscription is forgotten whoever consumes it',
    from: `> 0 then return -1 end`,
    to: '> 0 then end',
    seenBy: 'is not forgotten under its consumers',
  },
  {
    name: 'a text is popped, not moved: who dies with it loses it',
    from: `redis.call('LMOVE', L, takenOf(consumer), 'RIGHT', 'LEFT')`,
    to: `redis.call('RPOP', L)`,
    seenBy: 'what is on hand lies in the list of its consumer',
  },
  {
    name: 'the lists of dead consumers stay as they are',
    from: 'return returnOrphans(consumer)\nend\nlocal function untilNext',
    to: 'return 0\nend\nlocal function untilNext',
    seenBy: 'what a consumer took whose process died',
  },
  {
    name: 'an orphan goes to the end of its list',
    from: `redis.call('RPUSH', L, text)`,
    to: `redis.call('LPUSH', L, text)`,
    seenBy: 'what a consumer took whose process died',
  },
  {
    name: 'a lease that is over is not ended',
    from: `redis.call('ZRANGEBYSCORE', B .. ':lease', '-inf', int(NOW))`,
    to: '{}',
    seenBy: 'a lost lease is handed out again',
  },
  {
    name: 'a late settlement settles: nobody looks whether it is out',
    from: `results[#results + 1] = r and 1 or 0`,
    to: 'results[#results + 1] = 1',
    seenBy: 'a lost lease is handed out again',
  },
  {
    name: 'the state of a retry is forgotten',
    from: 'r.st = ARGV[i + 3]',
    to: 'r.st = nil',
    seenBy: 'a throw is tried again by the policy',
  },
  {
    name: 'a heartbeat is answered and does nothing',
    from: `if isOut then redis.call('ZADD'`,
    to: `if false then redis.call('ZADD'`,
    seenBy: 'a handler longer than its lease keeps the message',
  },
  {
    name: 'what is settled stays in the list of its consumer',
    from: `redis.call('LREM', takenOf(consumerOf(token)), -1, r.b)`,
    to: '',
    seenBy: 'what is on hand lies in the list of its consumer',
  },
  {
    name: 'a second subscription shares the list',
    from: `return redis.call('HGET', B, 'subscription') or ''`,
    to: `return ARGV[3]`,
    seenBy: 'a second subscription of a list is refused',
  },
  {
    name: 'what a killed asker left stays for ever',
    from: `if has[1] == '1' and`,
    to: 'if false and',
    seenBy: 'what a killed asker left',
  },
  {
    name: 'an asker is gone a day after it asked for the first time, whatever it has shown since',
    from: `tonumber(last or '0')`,
    to: '0',
    seenBy: 'what a killed asker left',
  },
  {
    name: 'an asker is gone as soon as it is silent',
    from: `< NOW - GONE_MS`,
    to: '< NOW + GONE_MS',
    seenBy: 'what a killed asker left',
  },
];

/** Between the toolkit and the engine. */
const seenBy: SeenBy = {
  'confirm before the commit': 'SIGKILL between confirms',
  'what is malformed is dropped': 'a payload that is no CloudEvent and one that breaks',
  'the group of a dead letter is its raw text': 'dead letters are grouped by cause',
  'a discard does nothing': 'a discarded dead letter is gone',
  'an expiry is ignored': 'an expired message is dropped',
  'prefetch is not kept': 'never more unsettled deliveries',
};

describe.skipIf(!url)(
  'defects planted into the scripts of lists (set REDIS_URL to run it)',
  { timeout: 60_000 },
  () => {
    beforeAll(() => limitPatience(4_000));
    afterAll(() => limitPatience(30_000));

    registerControls(
      it,
      'redis-lists',
      defects.map((defect) => {
        const own = listsCases.find(({ name }) => name.includes(defect.seenBy));
        const { name, run } = own ?? caseNamed(conformanceCases, defect.seenBy);
        return {
          defect: defect.name,
          caughtBy: name,
          healthy: () => onFixture(listsFixture(url ?? ''), run),
          defective: () => onFixture(listsFixture(url ?? '', {}, planting(defect)), run),
        };
      }),
    );

    const create = listsFixture(url ?? '');
    const move = caseNamed(listsCases, 'a consumer whose move is refused');
    registerControls(it, 'redis-lists', [
      {
        defect: 'a consumer whose move was refused looks again at once',
        caughtBy: move.name,
        healthy: () => onFixture(create, move.run),
        defective: () => planted(hastyLook, () => onFixture(create, move.run)),
      },
    ]);

    // Most of them wait in vain, which some can do at once.
    registerControls(it.concurrent, 'redis-lists', [
      ...plantedControls(seenBy, create),
      ...breakingControls(create, (fixture) => ({
        ...fixture,
        open: () => redisListsEngineOn(neverBack, { url: url ?? '', prefix: fixture.prefix }),
      })),
    ]);

    it.each(defects)('and the scripts say what is replaced: $name', ({ from }) => {
      expect(listsScriptTexts().some((text) => text.includes(from))).toBe(true);
    });
  },
);
