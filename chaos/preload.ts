/**
 * Given to Node by `--import` (in NODE_OPTIONS, so that worker threads with flags of their own have it too): changes the text of production files as they are loaded.
 * Nothing of it is in the product, which reads none of these variables.
 *
 *   CHAOS_FAILPOINT=name[:n]    the process kills itself (SIGKILL) at the n-th hit of this failpoint; default 1
 *   CHAOS_FAILPOINT_ARMED=path  only hits while this file exists count
 *   CHAOS_DEFECT=name           plants a defect, for controls
 *
 * It imports by relative paths only: a thread may lack the condition under which packages are found.
 */
import { existsSync, readFileSync, writeSync } from 'node:fs';
import { registerHooks, stripTypeScriptTypes } from 'node:module';
import { fileURLToPath } from 'node:url';
import { type Change, defects, isDefectName } from './defects.ts';
import { failpointOf, isFailpointName } from './failpoints.ts';

/** Read by whoever waits for the kill. */
export const strikeLine = (name: string): string => `failpoint ${name}`;

function fail(message: string): never {
  writeSync(2, `${message}\n`);
  process.exit(99);
}

function failpointChange(name: string): Change {
  if (!isFailpointName(name)) return fail(`there is no failpoint "${name}"`);
  const { file, anchor, strikes } = failpointOf(name);
  const call = 'globalThis.doorbusterFailpoint();';
  return { file, from: anchor, to: strikes === 'before' ? `${call} ${anchor}` : `${anchor} ${call}` };
}

function changesOf(failpoint: string, defect: string): readonly Change[] {
  if (defect !== '' && !isDefectName(defect)) return fail(`there is no defect "${defect}" to plant`);
  // The defect first: a failpoint's call must not come between a defect and its place.
  return [
    ...(defect === '' ? [] : defects[defect]),
    ...(failpoint === '' ? [] : [failpointChange(failpoint)]),
  ];
}

const [failpoint = '', nth = '1'] = (process.env['CHAOS_FAILPOINT'] ?? '').split(':');
const armed = process.env['CHAOS_FAILPOINT_ARMED'];
const changes = changesOf(failpoint, process.env['CHAOS_DEFECT'] ?? '');

let hits = 0;
(globalThis as { doorbusterFailpoint?: () => void }).doorbusterFailpoint = () => {
  if (armed !== undefined && !existsSync(armed)) return;
  hits += 1;
  if (hits < Number(nth)) return;
  writeSync(2, `${strikeLine(failpoint)}\n`);
  process.kill(process.pid, 'SIGKILL');
};

registerHooks({
  load(url, context, next) {
    const mine = changes.filter(({ file }) => url.endsWith(file));
    if (mine.length === 0) return next(url, context);
    let source = readFileSync(fileURLToPath(url), 'utf8');
    for (const { file, from, to } of mine) {
      const found = source.split(from).length - 1;
      if (found !== 1) fail(`${file} has this ${found} times and not once: ${from}`);
      source = source.replace(from, () => to);
    }
    return { format: 'module', source: stripTypeScriptTypes(source), shortCircuit: true };
  },
});
