/** A read that blocks, on a way that swallows everything and closes nothing. */
import { describe, it } from 'vitest';
import { onFixture, registerControls } from '../../conformance/controls.ts';
import { limitPatience } from '../../conformance/fixture.ts';
import { type OpenClient, openClient } from '../../redis/client.ts';
import { ANSWER_TIMEOUT_MS, blockingForEver, goesOnWithout } from '../../redis/testing/dead-peer.ts';
import { redisFixture } from './conformance-fixture.ts';
import { redisEngineOn } from './engine.ts';

const url = process.env['REDIS_URL'] ?? '';

/** A read blocks for 5 s, and its connection is looked at four times within the limit. A lease, which would bring one of the messages too, is longer. */
limitPatience(12_000);

const run = (open: OpenClient): Promise<void> =>
  onFixture(redisFixture(url), ({ prefix }) =>
    goesOnWithout(
      url,
      (way) => redisEngineOn(open, { url: way, prefix, answerTimeoutMs: ANSWER_TIMEOUT_MS }),
      'BLOCK',
    ),
  );

describe.skipIf(!url)('a dead way to Redis (set REDIS_URL to run it)', { timeout: 60_000 }, () => {
  registerControls(it, 'redis', [
    {
      defect: 'a read that blocks is waited for as long as it takes',
      caughtBy: 'what was lent to a dead way, and what comes after it, is handled',
      healthy: () => run(openClient),
      defective: () => run(blockingForEver),
    },
  ]);
});
