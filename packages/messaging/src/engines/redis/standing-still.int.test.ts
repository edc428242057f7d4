/** A server that stands still: it keeps its connections and answers nothing. */
import { describe, it } from 'vitest';
import { registerControls } from '../../conformance/controls.ts';
import type { Engine } from '../../engine.ts';
import { type OpenClient, openClient } from '../../redis/client.ts';
import { hasServerProgram } from '../../redis/testing/own-server.ts';
import {
  ANSWER_TIMEOUT_MS,
  rejectsAndComesBack,
  stopEnds,
  withoutPatience,
} from '../../redis/testing/standing-still.ts';
import { redisEngineOn } from './engine.ts';

const engineWith =
  (open: OpenClient) =>
  (url: string): Engine =>
    redisEngineOn(open, { url, answerTimeoutMs: ANSWER_TIMEOUT_MS });

describe.skipIf(!hasServerProgram())(
  'a Redis server that stands still (install redis-server to run it)',
  { timeout: 30_000 },
  () => {
    registerControls(
      it,
      'redis',
      [
        {
          caughtBy: 'a publish while the server stands still rejects as retryable',
          run: rejectsAndComesBack,
        },
        { caughtBy: 'a stop while the server stands still ends', run: stopEnds },
      ].map(({ caughtBy, run }) => ({
        defect: 'answers are waited for as long as it takes',
        caughtBy,
        healthy: () => run(engineWith(openClient)),
        defective: () => run(engineWith(withoutPatience)),
      })),
    );
  },
);
