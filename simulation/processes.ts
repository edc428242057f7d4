/** Jobs in processes of their own: seeds side by side, and defects, which spoil the process they are planted in. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { quoteLost } from './plant.ts';
import type { DefectName } from './planted.ts';
import type { SeedLine } from './summary.ts';

const program = fileURLToPath(new URL('job.ts', import.meta.url));

/** A job that ended otherwise than by its last seed. */
export class JobFailed extends Error {
  override readonly name = 'JobFailed';
  readonly exitCode: number;
  constructor(exitCode: number, what: string) {
    super(what);
    this.exitCode = exitCode;
  }
}

/** Seeds first .. first + count - 1 in `jobs` processes, in order. `onLine` is told of each as it ends. */
export async function runInJobs(
  first: number,
  count: number,
  jobs: number,
  onLine: (line: SeedLine) => void,
): Promise<readonly SeedLine[]> {
  const lanes = await Promise.all(
    Array.from({ length: jobs }, (_, lane) =>
      runJob([first + lane, jobs, Math.ceil((count - lane) / jobs)].map(String), onLine),
    ),
  );
  return Array.from({ length: count }, (_, i) => lanes[i % jobs]?.[Math.floor(i / jobs)] as SeedLine);
}

/** The seeds until the defect was found, at most `count`. */
export function runDefect(name: DefectName, first: number, count: number): Promise<readonly SeedLine[]> {
  return runJob([String(first), '1', String(count), name], () => {});
}

async function runJob(args: readonly string[], onLine: (line: SeedLine) => void): Promise<SeedLine[]> {
  const flags = ['--conditions=doorbuster-source', '--disable-warning=ExperimentalWarning'];
  const child = spawn(process.execPath, [...flags, program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const lines: SeedLine[] = [];
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-4_000);
  });
  const reading = (async () => {
    for await (const text of createInterface({ input: child.stdout })) {
      const line = JSON.parse(text) as SeedLine;
      lines.push(line);
      onLine(line);
    }
  })();
  const exitCode = await new Promise<number>((resolve) => child.on('close', (code) => resolve(code ?? 1)));
  await reading;
  if (exitCode === 0) return lines;
  const what = exitCode === quoteLost ? errors.trim() : `a job ended with ${exitCode}: ${errors}`;
  throw new JobFailed(exitCode, what);
}
