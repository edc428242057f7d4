/**
 * `npm run -s bench -- [--quick] [--rounds N] [--seconds N] [--connections N] [--only a,b] [--profile DIR] [--json]`
 *
 * Measures Doorbuster beside its baselines: every system in a process of its own, started anew each round, the order rotated from round to round, so that
 * a noisy minute hits all of them; medians over the rounds. What counts are the ratios. With --json one object as the last line on
 * stdout; exit code 0, 2 usage, 1 when a system answered what it should not.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { BenchProcess } from './child-process.ts';
import type { GeneratorOptions, Measured } from './generator.ts';
import { type Report, reportOf, tableOf } from './report.ts';
import { type Ready, type Scenario, scenarios, type SystemOptions } from './system.ts';

const here = fileURLToPath(new URL('.', import.meta.url));

interface Asked {
  readonly rounds: number;
  readonly seconds: number;
  readonly warmUpMs: number;
  readonly connections: number;
  readonly only: readonly Scenario[];
  readonly profile: string | null;
  readonly json: boolean;
}

const all = Object.keys(scenarios) as Scenario[];

function read(argv: readonly string[]): Asked | null {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        quick: { type: 'boolean', default: false },
        rounds: { type: 'string' },
        seconds: { type: 'string' },
        connections: { type: 'string', default: '128' },
        only: { type: 'string' },
        profile: { type: 'string' },
        json: { type: 'boolean', default: false },
      },
    });
    const { quick, only } = values;
    const number = (name: string, given: string | undefined, otherwise: number): number => {
      const value = Number(given ?? otherwise);
      if (!(value > 0)) throw new Error(`--${name} is a number above 0`);
      return value;
    };
    const chosen = only === undefined ? all : (only.split(',') as Scenario[]);
    const unknown = chosen.find((name) => !all.includes(name));
    if (unknown !== undefined) throw new Error(`no system "${unknown}": ${all.join(', ')}`);
    return {
      rounds: number('rounds', values.rounds, quick ? 1 : 3),
      seconds: number('seconds', values.seconds, quick ? 1 : 5),
      warmUpMs: quick ? 300 : 1_500,
      connections: number('connections', values.connections, 128),
      only: chosen,
      profile: values.profile ?? null,
      json: values.json,
    };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    return null;
  }
}

async function main(argv: readonly string[]): Promise<number> {
  const asked = read(argv);
  if (asked === null) return 2;
  const runs = new Map<Scenario, Measured[]>(asked.only.map((name) => [name, []]));
  for (let round = 0; round < asked.rounds; round += 1) {
    for (let i = 0; i < asked.only.length; i += 1) {
      const name = asked.only[(i + round) % asked.only.length] as Scenario;
      const run = await measure(name, asked);
      runs.get(name)?.push(run);
      const { requestsPerSecond, latencyMs, cpuShare } = run;
      process.stderr.write(
        `round ${round + 1} ${name.padEnd(10)} ${requestsPerSecond}/s  p99 ${latencyMs.p99} ms  generator ${cpuShare}\n`,
      );
    }
  }
  const report = reportOf(runs, asked);
  process.stdout.write(asked.json ? `${JSON.stringify(report)}\n` : tableOf(report));
  return wrongAnswers(report);
}

async function measure(name: Scenario, asked: Asked): Promise<Measured> {
  const directory = mkdtempSync(join(here, '.run-'));
  const { file, units, perSecond } = scenarios[name];
  const members = Math.ceil((asked.seconds + asked.warmUpMs / 1000) * perSecond);
  const options: SystemOptions = { directory, members, units: units === 'all' ? members : units };
  const profile = asked.profile === null ? [] : ['--cpu-prof', `--cpu-prof-dir=${join(asked.profile, name)}`];
  const system = new BenchProcess(file, options, profile);
  try {
    const ready = await system.said<Ready>();
    const { connections, warmUpMs } = asked;
    const load = { ...ready, connections, warmUpMs, runMs: asked.seconds * 1000 } satisfies GeneratorOptions;
    return await new BenchProcess('generator.ts', load).said<Measured>();
  } finally {
    await system.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

function wrongAnswers({ statuses }: Report): number {
  let wrong = 0;
  for (const [name, counts] of Object.entries(statuses)) {
    const { expected } = scenarios[name as Scenario];
    for (const [status, count] of Object.entries(counts)) {
      const right = expected === null ? status === '201' || status === '410' : status === String(expected);
      if (right) continue;
      wrong += 1;
      process.stderr.write(`${name} answered ${status} ${count} times\n`);
    }
  }
  return wrong === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
