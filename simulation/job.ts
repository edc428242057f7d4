/**
 * A process of its own for some seeds: `job.ts FIRST STRIDE COUNT [DEFECT]` runs FIRST, FIRST + STRIDE, ... and writes one JSON line a seed. With a defect it
 * is planted before anything of the product is loaded, and the first seed that finds something is the last.
 */
import { plant } from './plant.ts';
import { isDefectName } from './planted.ts';

const [first = '1', stride = '1', count = '1', defect] = process.argv.slice(2);
const check = defect !== undefined && isDefectName(defect) ? plant(defect) : null;
const { lineOf, runSeed } = await import('./seeds.ts');
check?.();
for (let i = 0; i < Number(count); i += 1) {
  const line = lineOf(await runSeed(String(Number(first) + i * Number(stride))));
  process.stdout.write(`${JSON.stringify(line)}\n`);
  if (check !== null && line.findings.length > 0) break;
}
