/**
 * Baseline (c): the fastest honest server without durability. Who is in, the units and the verdict are decided as promised and kept in memory, so that
 * a crash loses all of it: no record, no receipt, no delivery.
 */
import { serveBaseline } from './baseline.ts';

await serveBaseline(({ units }) => {
  const entries = new Map<string, { readonly seq: number; readonly answers: object }>();
  return {
    enter(memberKey, answers) {
      const before = entries.get(memberKey);
      if (before) return { status: 200, body: { verdict: 'won', seq: before.seq, repeated: true } };
      if (entries.size >= units) return { status: 410, body: { verdict: 'sold-out' } };
      const seq = entries.size + 1;
      entries.set(memberKey, { seq, answers });
      return { status: 201, body: { verdict: 'won', seq, repeated: false } };
    },
    close: () => {},
  };
});
