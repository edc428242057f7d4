/** How chaos starts the server: the real command line, with the sources changed at one place where a failpoint or a control asks for it. */
import type { ProcessOptions } from '../packages/server/src/acceptance/testing/process.ts';
import { type DefectName, defects } from './defects.ts';
import { type FailpointName, failpointOf } from './failpoints.ts';

const preload = new URL('./preload.ts', import.meta.url).href;
const quiet = '--disable-warning=ExperimentalWarning';

export interface StartOptions {
  /** A directory for compiled code that outlives the processes: a start is most of a cycle's time. */
  readonly compileCache: string;
  readonly defect: DefectName | null;
}

export interface ArmedFailpoint {
  readonly name: FailpointName;
  readonly nth: number;
  /** Strikes only while this file exists; null: from the start. */
  readonly armFile: string | null;
}

export function processWith(options: StartOptions, failpoint: ArmedFailpoint | null): ProcessOptions {
  const { compileCache, defect } = options;
  const env: Record<string, string> = { NODE_COMPILE_CACHE: compileCache };
  if (failpoint !== null) {
    env['CHAOS_FAILPOINT'] = `${failpoint.name}:${failpoint.nth}`;
    if (failpoint.armFile !== null) env['CHAOS_FAILPOINT_ARMED'] = failpoint.armFile;
  }
  if (defect !== null) env['CHAOS_DEFECT'] = defect;
  if (failpoint !== null || defect !== null) env['NODE_OPTIONS'] = `${quiet} --import=${preload}`;
  return { env };
}

/** A failpoint in a file that the defect changes could not be told apart from it. */
export function disturbs(defect: DefectName | null, name: FailpointName): boolean {
  return defect !== null && defects[defect].some(({ file }) => file === failpointOf(name).file);
}
