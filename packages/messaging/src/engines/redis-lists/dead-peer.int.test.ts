/** A move that blocks, on a way that swallows everything and closes nothing. */
import { describe, it } from 'vitest';
import { onFixture, registerControls } from '../../conformance/controls.ts';
import { limitPatience } from '../../conformance/fixture.ts';
import { type OpenClient, openClient } from '../../redis/client.ts';
import { ANSWER_TIMEOUT_MS, blockingForEver, goesOnWithout } from '../../redis/testing/dead-peer.ts';
import { listsFixture } from './conformance-fixture.ts';
import { redisListsEngineOn } from './engine.ts';

const url = process.env['REDIS_URL'] ?? '';

/** Several times what a move blocks for and the limit together. */
limitPatience(6_000);

const run = (open: OpenClient): Promise<void> =>
  onFixture(listsFixture(url), ({ prefix }) =>
    goesOnWithout(
      url,
      (way) => redisListsEngineOn(open, { url: way, prefix, answerTimeoutMs: ANSWER_TIMEOUT_MS }),
      'BLMOVE',
    ),
  );

describe.skipIf(!url)('a dead way to Redis with lists (set REDIS_URL to run it)', { timeout: 60_000 }, () => {
  registerControls(it, 'redis-lists', [
    {
      defect: 'a move that blocks is waited for as long as it takes',
      caughtBy: 'what was moved to a dead way, and what comes after it, is handled',
      healthy: () => run(openClient),
      defective: () => run(blockingForEver),
    },
  ]);
});
