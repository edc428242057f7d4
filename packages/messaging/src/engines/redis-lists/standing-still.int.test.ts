/** A server that stands still, with lists: it keeps its connections and answers nothing. */
import { describe, it } from 'vitest';
import { registerControls } from '../../conformance/controls.ts';
import type { Engine } from '../../engine.ts';
import { type OpenClient, openClient } from '../../redis/client.ts';
import { hasServerProgram } from '../../redis/testing/own-server.ts';
import { ANSWER_TIMEOUT_MS, stopEnds, withoutPatience } from '../../redis/testing/standing-still.ts';
import { redisListsEngineOn } from './engine.ts';

const engineWith =
  (open: OpenClient) =>
  (url: string): Engine =>
    redisListsEngineOn(open, { url, answerTimeoutMs: ANSWER_TIMEOUT_MS });

describe.skipIf(!hasServerProgram())(
  'a Redis server with lists that stands still (install redis-server to run it)',
  { timeout: 30_000 },
  () => {
    registerControls(it, 'redis-lists', [
      {
        defect: 'answers are waited for as long as it takes',
        caughtBy: 'a stop while the server stands still ends, and what is on its way rejects',
        healthy: () => stopEnds(engineWith(openClient)),
        defective: () => stopEnds(engineWith(withoutPatience)),
      },
    ]);
  },
);
