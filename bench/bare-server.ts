/** Baseline (a): the session check, the body's schema and an answer. Nothing is decided, nothing is kept. */
import { serveBaseline } from './baseline.ts';

await serveBaseline(() => {
  let seq = 0;
  return {
    enter: () => ({ status: 201, body: { verdict: 'won', seq: ++seq, repeated: false } }),
    close: () => {},
  };
});
