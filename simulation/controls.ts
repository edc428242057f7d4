/** The negative controls: every planted defect in processes of its own, until a seed catches it. What is not caught says that a check is blind. */
import { type DefectName, planted } from './planted.ts';
import { JobFailed, runDefect } from './processes.ts';
import { quoteLost } from './plant.ts';

export const mostSeeds = 200;

export interface ControlsSummary {
  readonly controls: number;
  readonly caught: number;
  /** Null: not within `mostSeeds`. */
  readonly seedsToDetect: Readonly<Record<string, number | null>>;
  readonly caughtBy: Readonly<Record<string, string | null>>;
}

/** Throws a `JobFailed` with exit code 99 when a quote is lost. A process that a defect brings down is a catch, too. */
export async function runControls(
  jobs: number,
  tell: (name: DefectName, seeds: number | null, rule: string | null) => void,
): Promise<ControlsSummary> {
  const names = Object.keys(planted) as DefectName[];
  const found = new Map<DefectName, { readonly seeds: number | null; readonly rule: string | null }>();
  const waiting = [...names];
  const work = async (): Promise<void> => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const outcome = await detect(name);
      found.set(name, outcome);
      tell(name, outcome.seeds, outcome.rule);
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  const by = <T>(of: (outcome: { seeds: number | null; rule: string | null }) => T): Record<string, T> =>
    Object.fromEntries(names.map((name) => [name, of(found.get(name) ?? { seeds: null, rule: null })]));
  return {
    controls: names.length,
    caught: [...found.values()].filter(({ seeds }) => seeds !== null).length,
    seedsToDetect: by(({ seeds }) => seeds),
    caughtBy: by(({ rule }) => rule),
  };
}

async function detect(name: DefectName): Promise<{ seeds: number | null; rule: string | null }> {
  try {
    const lines = await runDefect(name, 1, mostSeeds);
    const last = lines.at(-1);
    const rule = last?.findings[0]?.rule ?? null;
    return { seeds: rule === null ? null : lines.length, rule };
  } catch (error) {
    if (error instanceof JobFailed && error.exitCode === quoteLost) throw error;
    throw new JobFailed(1, `${name}: ${(error as Error).message}`);
  }
}
