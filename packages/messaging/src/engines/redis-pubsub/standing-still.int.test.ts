/** A server that stands still, with broadcast: it keeps its connections and answers nothing. */
import { describe, it } from 'vitest';
import { registerControls } from '../../conformance/controls.ts';
import { hasServerProgram } from '../../redis/testing/own-server.ts';
import { ANSWER_TIMEOUT_MS, rejectsAndComesBack } from '../../redis/testing/standing-still.ts';
import { createRedisBroadcastEngine } from './engine.ts';

describe.skipIf(!hasServerProgram())(
  'a Redis server with broadcast that stands still (install redis-server to run it)',
  { timeout: 30_000 },
  () => {
    const withLimit = (answerTimeoutMs: number) => () =>
      rejectsAndComesBack((url) => createRedisBroadcastEngine({ url, answerTimeoutMs }));
    registerControls(it, 'redis-pubsub', [
      {
        defect: 'answers are waited for as long as it takes',
        caughtBy: 'a publish while the server stands still rejects as retryable',
        healthy: withLimit(ANSWER_TIMEOUT_MS),
        defective: withLimit(3_600_000),
      },
    ]);
  },
);
