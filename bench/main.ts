/**
 * `npm run -s bench -- [--quick] [--rounds N] [--seconds N] [--connections N] [--only a,b] [--profile DIR] [--json]`
 *
 * Measures Doorbuster beside its baselines: every system in a process of its own, started anew each round, the order rotated from round to round and turned
 * round every second time, so that neither a noisy minute nor what ran before hits always the same; medians over the rounds. What counts are the ratios. A void run is repeated. With --json one object as the
 * last line on stdout, else a table; progress on stderr. Exit code 0, 2 usage, 1 when a system answered what it should not.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { BenchProcess } from './child-process.ts';
import type { PrepareOptions } from './prepare.ts';
import { type Report, reportOf, tableOf } from './report.ts';
import { measure, type Plan, type Run, temporaryDirectory } from './round.ts';
import { measureStored, type StoredPart, storedParts } from './stored.ts';
import {
  allScenarios,
  comparison,
  type Installation,
  installations,
  preparedFiles,
  type Scenario,
} from './system.ts';

type Part = Scenario | StoredPart;
const allParts: readonly Part[] = [...allScenarios, ...storedParts];

interface Asked {
  readonly quick: boolean;
  readonly rounds: number;
  readonly seconds: number;
  readonly connections: number;
  readonly scenarios: readonly Scenario[];
  readonly stored: readonly StoredPart[];
  readonly profile: string | null;
  readonly json: boolean;
}

/** What differs in a smoke run, which is to show that all of it works and nothing else. */
const sizes = {
  full: {
    warmUpMs: 1_500,
    drainMs: 3_000,
    campaigns: 1_000,
    stored: {
      sizes: [10_000, 100_000, 1_000_000],
      entries: { few: 50_000, many: 125_000, warmUp: 15_000 },
      loadMs: 2_000,
      deliverable: 20_000,
      newcomers: 200_000,
      quietMs: 1_500,
    },
  },
  quick: {
    warmUpMs: 300,
    drainMs: 300,
    campaigns: 20,
    stored: {
      sizes: [200, 1_000, 4_000],
      entries: { few: 500, many: 500, warmUp: 100 },
      loadMs: 300,
      deliverable: 100,
      newcomers: 3_000,
      quietMs: 100,
    },
  },
} as const;

/** Units for each request that the bare server could answer by a first look; and members, for a refusal may cost less than a bare answer. */
const unitsPerRequest = 1.15;
const membersPerRequest = 2;
const firstLookMs = 1_500;
const inQuick = { members: 80_000, units: 40_000, deliverable: 3_000 };
/** A void run is tried again so often. */
const repeats = 2;

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
    const chosen = only === undefined ? allParts : (only.split(',') as Part[]);
    const unknown = chosen.find((name) => !allParts.includes(name));
    if (unknown !== undefined) throw new Error(`nothing is called "${unknown}": ${allParts.join(', ')}`);
    return {
      quick,
      rounds: number('rounds', values.rounds, quick ? 1 : 3),
      seconds: number('seconds', values.seconds, quick ? 0.5 : 10),
      connections: number('connections', values.connections, 128),
      scenarios: allScenarios.filter((name) => chosen.includes(name)),
      stored: storedParts.filter((name) => chosen.includes(name)),
      profile: values.profile ?? null,
      json: values.json,
    };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    return null;
  }
}

const progress = (text: string): void => void process.stderr.write(`${text}\n`);

async function main(argv: readonly string[]): Promise<number> {
  const asked = read(argv);
  if (asked === null) return 2;
  const prepared = temporaryDirectory();
  // A smoke run is mostly starts of processes: they compile once.
  if (asked.quick) process.env['NODE_COMPILE_CACHE'] = join(prepared, 'compiled');
  try {
    const plan = await prepare(asked, prepared);
    const runs = await rounds(asked, plan);
    const stored = await measureStoredParts(asked, prepared);
    const report = reportOf(runs, stored, asked);
    process.stdout.write(asked.json ? `${JSON.stringify(report)}\n` : tableOf(report));
    return wrongAnswers(report);
  } finally {
    rmSync(prepared, { recursive: true, force: true });
  }
}

/** As many members as this machine can have answered, and what the scenarios start from. */
async function prepare(asked: Asked, prepared: string): Promise<Plan> {
  const { warmUpMs, drainMs, campaigns } = sizes[asked.quick ? 'quick' : 'full'];
  const base = { ...asked, warmUpMs, drainMs, campaigns, prepared };
  const make = async (
    wanted: readonly Installation[],
    sizes: Pick<PrepareOptions, 'members' | 'units' | 'deliverable'>,
  ): Promise<Plan> => {
    const options = { directory: prepared, installations: wanted, campaigns, ...sizes };
    await new BenchProcess('prepare.ts', options satisfies PrepareOptions).said();
    return { ...base, units: sizes.units };
  };
  const needed = installations.filter((name) =>
    asked.scenarios.some((scenario) => {
      const compared = comparison(scenario);
      return 'installation' in compared && compared.installation === name;
    }),
  );
  if (asked.scenarios.length === 0) return make([], { members: 1, units: 1, deliverable: 0 });
  if (asked.quick) return make(needed, inQuick);
  const first = await make([], { members: 300_000, units: 300_000, deliverable: 0 });
  const look = { ...first, warmUpMs: firstLookMs, seconds: 1, profile: null };
  const { requestsPerSecond, cpuMicrosPerRequest } = await measure('bare', look);
  // With others on the processors it answers less than it could with one to itself.
  const could = Math.max(requestsPerSecond, 1e6 / (cpuMicrosPerRequest?.main ?? 1e6));
  const requests = could * (asked.seconds + warmUpMs / 1000);
  const members = Math.ceil(requests * membersPerRequest);
  const units = Math.ceil(requests * unitsPerRequest);
  progress(`preparing ${members} members, ${units} units`);
  return make(needed, { members, units, deliverable: units });
}

async function rounds(asked: Asked, plan: Plan): Promise<Map<Scenario, Run[]>> {
  const { scenarios } = asked;
  const runs = new Map<Scenario, Run[]>(scenarios.map((name) => [name, []]));
  for (let round = 0; round < asked.rounds; round += 1) {
    const order = scenarios.map((_, i) => scenarios[(i + round) % scenarios.length] as Scenario);
    if (round % 2 === 1) order.reverse();
    for (const name of order) {
      for (let attempt = 0; attempt <= (asked.quick ? 0 : repeats); attempt += 1) {
        const run = await measure(name, plan);
        runs.get(name)?.push(run);
        progress(lineOf(round + 1, name, run));
        if (run.fault === null) break;
      }
    }
  }
  return runs;
}

function lineOf(round: number, name: Scenario, run: Run): string {
  const { requestsPerSecond, latencyMs, shares, cpuMicrosPerRequest: cpu, deliveries } = run;
  const parts = [
    `round ${round} ${name.padEnd(14)} ${requestsPerSecond}/s`,
    `p99 ${latencyMs.p99} ms`,
    `generator ${shares.generator}, others ${shares.others ?? '-'}, steal ${shares.steal ?? '-'}`,
  ];
  if (cpu) parts.push(`cpu ${cpu.server} us (main ${cpu.main}, writer ${cpu.writer ?? '-'})`);
  if (deliveries)
    parts.push(`delivered ${deliveries.perSecondDuringRun}/s, then ${deliveries.perSecondAfterwards}/s`);
  if (run.firstRequestToLastDeliveryMs !== null)
    parts.push(`last delivery after ${run.firstRequestToLastDeliveryMs} ms`);
  if (run.fault !== null) parts.push(`void: ${run.fault}`);
  return parts.join('  ');
}

async function measureStoredParts(asked: Asked, prepared: string) {
  if (asked.stored.length === 0) return null;
  const { stored } = sizes[asked.quick ? 'quick' : 'full'];
  const plan = { ...stored, parts: asked.stored, rounds: asked.rounds, progress };
  return measureStored(plan, join(prepared, preparedFiles.secrets));
}

function wrongAnswers({ statuses }: Report): number {
  let wrong = 0;
  for (const [name, counts] of Object.entries(statuses)) {
    const { expected } = comparison(name as Scenario);
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
