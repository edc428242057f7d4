/** Baseline (a): the session check, the body's schema and an answer. Nothing is decided, nothing is kept. */
import { serveBaseline } from './baseline.ts';

await serveBaseline(({ answerBytes }) => {
  let seq = 0;
  if (answerBytes === null)
    return {
      enter: () => ({ status: 201, body: { verdict: 'won', seq: ++seq, repeated: false } }),
      close: () => {},
    };
  // As cheap as so long an answer can be had: the same text each time, but for the number.
  const before = `{"verdict":"won","repeated":false,"receipt":"${'x'.repeat(Math.max(0, answerBytes - 64))}","seq":`;
  return { enter: () => ({ status: 201, body: `${before}${++seq}}` }), close: () => {} };
});
