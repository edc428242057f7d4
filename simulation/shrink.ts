/**
 * Shortens a history: runs parts of a seed again and keeps leaving things out as long as the same rule is still broken. First the faults of calls, then
 * steps of the plan in ever smaller pieces (delta debugging). Bounded in time, so what is left may not be the least, only less.
 */
import { callFaults, type FaultKind } from './fault-kinds.ts';
import { type Part, runSeed, type SeedResult } from './run-seed.ts';

export interface Shrunk {
  readonly part: Part;
  readonly result: SeedResult;
  readonly runs: number;
}

/** `isOver`: asked before each run. Null when the seed does not break the rule again without its last-minute faults. */
export async function shrink(found: SeedResult, isOver: () => boolean): Promise<Shrunk | null> {
  const rule = found.findings[0]?.rule;
  let runs = 0;
  const attempt = async (part: Part): Promise<SeedResult | null> => {
    runs += 1;
    const result = await runSeed(found.seed, part);
    return result.findings.some((finding) => finding.rule === rule) ? result : null;
  };
  let part: Part = { keep: new Set(found.steps), without: new Set() };
  let best = await attempt(part);
  if (best === null) return null;
  const tryWithout = async (next: Part): Promise<boolean> => {
    if (isOver()) return false;
    const result = await attempt(next);
    if (result === null) return false;
    best = result;
    part = next;
    return true;
  };
  if (!(await tryWithout({ ...part, without: new Set(callFaults) })))
    for (const kind of callFaults)
      await tryWithout({ ...part, without: new Set<FaultKind>([...part.without, kind]) });
  for (let pieces = 2; !isOver(); ) {
    const steps = [...(part.keep ?? [])];
    if (steps.length === 0) break;
    const size = Math.ceil(steps.length / pieces);
    let shortened = false;
    for (let at = 0; at < steps.length && !shortened && !isOver(); at += size) {
      const keep = new Set([...steps.slice(0, at), ...steps.slice(at + size)]);
      shortened = await tryWithout({ ...part, keep });
    }
    if (shortened) pieces = Math.max(2, pieces - 1);
    else if (size === 1) break;
    else pieces = Math.min(steps.length, pieces * 2);
  }
  return { part, result: best, runs };
}
