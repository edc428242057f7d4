// docs/evidence.md: each promise, how it is kept and tested, and the latest figures, from docs/evidence/*.json (written by `npm run -s evidence`). What
// was not measured is said; no figure stands here that a command did not print.

import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type SoakEngine, soakEngines } from '../../chaos/messaging/engines.ts';
import type { Recorded } from '../evidence.ts';
import { promiseRows } from './evidence-promises.ts';
import { notice, type Generator } from './generated.ts';

const folder = fileURLToPath(new URL('../../docs/evidence/', import.meta.url));

function recorded(name: string): Recorded | null {
  const file = `${folder}${name}.json`;
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Recorded) : null;
}

interface Wanted {
  readonly sign: '>=' | '<=';
  readonly limit: number;
}

/** What the project wants of a figure, from the issue that asked for it. */
const wanted: Readonly<Record<string, Wanted>> = {
  admissionOverBare: { sign: '>=', limit: 0.8 },
  soldOutOverBare: { sign: '>=', limit: 0.95 },
  admissionOverNaive: { sign: '>=', limit: 5 },
  p99OverBareP99: { sign: '<=', limit: 3 },
  costPerEntry1e6Over1e4: { sign: '<=', limit: 1.1 },
  thousandCampaignsOverOne: { sign: '<=', limit: 1.1 },
  bytesPerMember: { sign: '<=', limit: 40 },
  recoveryMs: { sign: '<=', limit: 5_000 },
};

/** Ratios that say what a wanted one does not: shown right behind it. */
const beside: Readonly<Record<string, readonly string[]>> = {
  admissionOverBare: ['admissionOverBareSameSize', 'admissionOverInMemory'],
  costPerEntry1e6Over1e4: ['cpuPerEntry1e6Over1e4'],
  thousandCampaignsOverOne: ['thousandCampaignsSpreadOverOne'],
};

const number = (value: unknown): string =>
  typeof value === 'number'
    ? value.toLocaleString('en-US', { maximumFractionDigits: 3 })
    : String(value ?? '-');

/** With no failure in n independent runs, the chance of one in a run is below 3/n at 95 % confidence; with one nothing of the kind is known. */
export function bound(n: number, violations: unknown): string {
  return n > 0 && violations === 0 ? `0 in ${number(n)}, so below ${(3 / n).toPrecision(2)} a run` : '-';
}

const notReached = '**Not all that is wanted was reached in this run.**';

function source(name: string, recorded: Recorded): string {
  const { command, commit, clean, measuredOn, seconds, machine, reached } = recorded;
  const { processor, cores, memoryGiB, system, node } = machine;
  const state = clean ? `commit \`${commit}\`` : `commit \`${commit}\` with changes`;
  return `\`${command}\` (${name}), ${state}, ${measuredOn}, ${number(seconds)} s, ${cores} cores of ${processor}, ${memoryGiB} GiB, ${system}, Node ${node}.${reached === false ? ` ${notReached}` : ''}`;
}

const notMeasured = (name: string): string => `Not recorded yet: \`npm run -s evidence -- ${name}\`.`;

function countsOf(value: unknown): [string, number][] {
  return typeof value === 'object' && value !== null ? (Object.entries(value) as [string, number][]) : [];
}

const listOf = (value: unknown): string =>
  countsOf(value)
    .map(([name, count]) => `${name} ${number(count)}`)
    .join(', ');

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
}

function promiseSection(simulation: Recorded | null, chaos: Recorded | null): string[] {
  const seeds = Number(simulation?.result['seeds'] ?? 0);
  const cycles = Number(chaos?.result['cycles'] ?? 0);
  return [
    ...table(['#', 'promise', 'how it is kept', 'how it is tested'], promiseRows()),
    '',
    'A control is the same judgement over a planted defect or doctored evidence, and must find the fault. The invariants are code (`packages/core/src/invariants/`).',
    "`doorbuster verify`, with the job of the running server, and the simulation's auditor run it. The demo and chaos judge what members were told, the exported chain",
    'and the mails by auditors of their own, and run `verify` beside. What they found:',
    '',
    ...table(
      ['judge', 'violations', 'n and the bound 3/n (95 %)'],
      [
        [
          'simulation, one seed a run',
          number(simulation?.result['violations']),
          simulation ? bound(seeds, simulation.result['violations']) : notMeasured('simulation'),
        ],
        [
          'chaos, one kill cycle a run',
          number(chaos?.result['violations']),
          chaos ? bound(cycles, chaos.result['violations']) : notMeasured('chaos'),
        ],
      ],
    ),
    '',
    'The bound speaks of the seeds and cycles as they are drawn here, not of every machine and every day.',
  ];
}

function simulationSection(simulation: Recorded | null): string[] {
  if (!simulation) return [notMeasured('simulation')];
  const { seeds, commands, simulatedHours, traceHash, unreached } = simulation.result;
  const missing = Array.isArray(unreached) ? (unreached as string[]) : null;
  return [
    source('simulation', simulation),
    '',
    `${number(seeds)} seeds, ${number(commands)} commands, ${number(simulatedHours)} simulated hours, trace \`${String(traceHash).slice(0, 16)}\`. Faults: ${listOf(simulation.result['faults'])}.`,
    ...(missing === null
      ? []
      : [
          '',
          missing.length === 0
            ? 'Every state and transition on the list was reached.'
            : `Reached by no seed: ${missing.join(', ')}.`,
        ]),
  ];
}

function controlSection(controls: Recorded | null): string[] {
  if (!controls) return [notMeasured('controls')];
  const rows = countsOf(controls.result['seedsToDetect']).map(([name, seeds]) => [name, number(seeds)]);
  return [
    source('controls', controls),
    '',
    `${number(controls.result['caught'])} of ${number(controls.result['controls'])} planted defects caught. A defect is a patch of a source while it is loaded; the product has no switch for any.`,
    '',
    ...table(['defect', 'seeds until it was caught'], rows),
  ];
}

function chaosSection(chaos: Recorded | null): string[] {
  if (!chaos) return [notMeasured('chaos')];
  const { failpoints, missed, ...figures } = chaos.result;
  return [
    source('chaos', chaos),
    '',
    ...table(
      ['figure', 'value'],
      Object.entries(figures)
        .filter(([, value]) => typeof value === 'number')
        .map(([name, value]) => [name, number(value)]),
    ),
    '',
    `Kills at named points: ${listOf(failpoints)}.`,
    '',
    `Armed and not met, so that the server was killed from outside: ${listOf(missed) || 'none'}.`,
  ];
}

function demoSection(demo: Recorded | null): string[] {
  if (!demo) return [notMeasured('demo')];
  return [source('demo', demo), '', ...table(['figure', 'value'], plainOf(demo).map(figureCells))];
}

const plainOf = ({ result }: Recorded): [string, unknown][] =>
  Object.entries(result).filter(([, value]) => typeof value === 'number' || typeof value === 'boolean');

const figureCells = ([name, value]: [string, unknown]): string[] => [name, number(value)];

/** Name, measured, wanted, reached. */
export function figureRow([name, value]: [string, unknown]): string[] {
  const goal = wanted[name];
  if (!goal) return [name, number(value), '-', '-'];
  const isReached =
    typeof value === 'number' && (goal.sign === '>=' ? value >= goal.limit : value <= goal.limit);
  const reached = typeof value === 'number' ? (isReached ? 'yes' : '**no**') : 'not measured';
  return [name, number(value), `${goal.sign} ${number(goal.limit)}`, reached];
}

/** The wanted ratios, each with those that were asked beside it. */
function ratiosOf({ result }: Recorded): [string, unknown][] {
  const others = new Map<string, unknown>(countsOf(result['ratiosBeside']));
  const rows: [string, unknown][] = [];
  for (const [name, value] of countsOf(result['ratios'])) {
    rows.push([name, value]);
    for (const other of beside[name] ?? []) {
      if (others.has(other)) rows.push([other, others.get(other)]);
      others.delete(other);
    }
  }
  return [...rows, ...others];
}

function benchSection(bench: Recorded | null): string[] {
  if (!bench) return [notMeasured('bench')];
  const { result } = bench;
  const notes = Array.isArray(result['notes']) ? (result['notes'] as string[]) : [];
  return [
    source('bench', bench),
    '',
    ...table(
      ['figure', 'measured', 'wanted', 'reached'],
      [...ratiosOf(bench), ...plainOf(bench)].map(figureRow),
    ),
    '',
    '`thousandCampaignsOverOne`: a thousand campaigns are open and all entries go into one of them; `thousandCampaignsSpreadOverOne`: the same stream goes to each in',
    'turn, and an entry then costs that many times as much. No limit was set for it.',
    '',
    'Each system by itself (CPU in microseconds a request; "-": it has no such thread, or it was not measured):',
    '',
    ...table(
      ['system', 'requests/s', 'p99 ms', 'CPU of the server', 'main thread', 'writer thread'],
      systemRows(result),
    ),
    '',
    'An entry into a ledger that holds few (10,000) and many (1,000,000), in microseconds:',
    '',
    ...table(['ledger', 'time', 'CPU', 'CPU of the writer'], costRows(result['microsPerEntry'])),
    '',
    ...(notes.length === 0 ? [] : [`Notes of the run: ${notes.join('; ')}.`, '']),
    'What bounds each, and what was tried: [benchmarks](internals/benchmarks.md).',
  ];
}

type Figures = Readonly<Record<string, Readonly<Record<string, unknown>> | null>>;

function systemRows({
  requestsPerSecond,
  p99Ms,
  cpuMicrosPerRequest,
}: Recorded['result']): (readonly string[])[] {
  const p99s = new Map<string, unknown>(countsOf(p99Ms));
  const cpu = (cpuMicrosPerRequest ?? {}) as Figures;
  return countsOf(requestsPerSecond).map(([name, rate]) => [
    name,
    ...[rate, p99s.get(name), cpu[name]?.['server'], cpu[name]?.['main'], cpu[name]?.['writer']].map(number),
  ]);
}

const costRows = (costs: unknown): (readonly string[])[] =>
  Object.entries((costs ?? {}) as Figures).map(([size, cost]) => [
    size,
    ...['time', 'cpu', 'writerCpu'].map((part) => number(cost?.[part])),
  ]);

type Ratios = Readonly<Record<string, Readonly<Record<string, number | null>>>>;
type Spread = Readonly<Record<string, Readonly<Record<string, readonly [number, number] | null>>>>;
type Medians = Readonly<Record<string, Readonly<Record<string, number | null>>>>;

/** Of the bare client with the same settings, and of the job queues. */
const wantedRatio = (name: string): number | undefined =>
  ({
    publish: 0.9,
    consume: 0.9,
    overBullmqPublish: 2,
    overBullmqConsume: 2,
    overBullmqAlwaysPublish: 2,
    overBullmqAlwaysConsume: 2,
    overGraphilePublish: 2,
    overGraphileConsume: 2,
  })[name];

function benchRows(
  ratios: Ratios,
  spread: Spread,
  wanted: (name: string) => number | undefined,
): readonly (readonly string[])[] {
  return Object.entries(ratios).flatMap(([engine, of]) =>
    Object.entries(of).map(([name, value]) => {
      const range = spread[engine]?.[name];
      const least = wanted(name);
      return [
        engine,
        name,
        number(value),
        range ? range.map(number).join(' to ') : '-',
        least === undefined ? '-' : `${least}${Number(value) < least ? ', not reached' : ''}`,
      ];
    }),
  );
}

function messagingBenchSection(bench: Recorded | null): string[] {
  if (!bench) return [notMeasured('messaging-bench')];
  const { ratios, spread, medians, rounds, notRun } = bench.result;
  const { keyed: keyedRatios, ...plainRatios } = (ratios ?? {}) as Ratios & { readonly keyed?: Ratios };
  const { keyed: keyedSpread, ...plainSpread } = (spread ?? {}) as Spread & { readonly keyed?: Spread };
  const rows = benchRows(plainRatios, plainSpread, wantedRatio);
  const keyedRows = benchRows(keyedRatios ?? {}, keyedSpread ?? {}, () => undefined);
  const columns = ['publishPerSecond', 'consumePerSecond', 'publishCpuMicros', 'consumeCpuMicros'];
  const systems = Object.entries((medians ?? {}) as Medians).map(([name, figures]) => [
    name,
    ...columns.map((column) => number(figures[column])),
  ]);
  const missing = Object.entries((notRun ?? {}) as Readonly<Record<string, string>>);
  return [
    source('messaging-bench', bench),
    '',
    `Throughput of the toolkit over that of the other, medians of ${number(rounds)} rounds: [what is compared](messaging/benchmarks.md).`,
    '',
    ...table(['engine', 'ratio', 'median', 'lowest to highest', 'wanted'], rows),
    '',
    ...(keyedRows.length === 0
      ? []
      : [
          'Messages with keys, of what is built by hand for them:',
          '',
          ...table(['engine', 'ratio', 'median', 'lowest to highest', 'wanted'], keyedRows),
          '',
        ]),
    ...table(['system', 'published/s', 'consumed/s', 'CPU us a publish', 'CPU us a consume'], systems),
    ...missing.map(([what, why]) => `\nNot run: ${what} (${why}).`),
  ];
}

/** Of the undisturbed rate, with kills: in results that do not say it themselves. */
const leastRate = 0.5;

function rateCell({ rate, leastRate: least = leastRate }: Readonly<Record<string, unknown>>): string {
  if (least === null) return `${number(rate)}, not judged`;
  return Number(rate) < Number(least) ? `**${number(rate)}**, ${number(least)} is not reached` : number(rate);
}

/** `name`: of the harness; `of`: the engines that belong into it. */
export function soakSection(
  soak: Recorded | null,
  { name, of }: { readonly name: string; readonly of: readonly SoakEngine[] },
): string[] {
  if (!soak) return [notMeasured(name)];
  const columns = [
    'messages',
    'processes',
    'kills',
    'publisherKills',
    'lost',
    'handledTwice',
    'orderBroken',
    'perSecondUndisturbed',
    'perSecondWithKills',
  ];
  const engines = Object.entries((soak.result['engines'] ?? {}) as Figures);
  const rows = engines.map(([engine, figures]) => [
    engine,
    ...columns.map((column) => number(figures?.[column])),
    rateCell(figures ?? {}),
  ]);
  const missing = of.filter((engine) => !engines.some(([there]) => there === engine));
  const violations = engines.flatMap(([engine, figures]) =>
    ((figures?.['violations'] ?? []) as string[]).map((one) => `- ${engine}: ${one}`),
  );
  return [
    source(name, soak),
    '',
    ...table(['engine', ...columns, 'rate'], rows),
    ...(engines.some(([, figures]) => figures?.['orderBroken'] === null)
      ? ['', '`orderBroken` "-": no order is promised there, so none was judged.']
      : []),
    ...(missing.length === 0 ? [] : ['', `Not in this run: ${missing.join(', ')}.`]),
    ...(violations.length === 0 ? [] : ['', 'What was not reached, or did not hold:', '', ...violations]),
  ];
}

export const generate: Generator = () => {
  const names = ['simulation', 'controls', 'chaos', 'bench', 'demo', 'messaging-bench', 'soak', 'soak-host'];
  const [simulation, controls, chaos, bench, demo, messagingBench, soak, soakHost] = names.map(recorded);
  const text = [
    notice,
    '# Evidence',
    '',
    'Each promise, how it is kept, how it is tested, and the latest figures with the commit and the machine. All of it can be repeated from a fresh clone with the',
    'commands that stand here; ratios say more than figures.',
    '',
    '## The promises',
    ...promiseSection(simulation ?? null, chaos ?? null),
    '',
    '## Simulation',
    'The production code on a seeded clock, broken on purpose: [how](internals/simulation.md).',
    '',
    ...simulationSection(simulation ?? null),
    '',
    '## Negative controls',
    ...controlSection(controls ?? null),
    '',
    '## Real processes',
    'A real server and its crowd, killed at random and at named points: [how](internals/chaos.md).',
    '',
    ...chaosSection(chaos ?? null),
    '',
    '## Failures seen elsewhere, races and abuse',
    'Each row of [failures](internals/failures.md) names its tests and a control. Of [security](internals/security.md), slow heads, smuggling and the fuzz have controls with a planted fault. The',
    'ten tests of the OWASP list have none: no test of them is run with its defence off (API3, API7 and API9 look once, inside, that what they look for can be seen).',
    '',
    '## The demo',
    ...demoSection(demo ?? null),
    '',
    '## Speed and size',
    ...benchSection(bench ?? null),
    '',
    '## The messaging toolkit: what it costs',
    ...messagingBenchSection(messagingBench ?? null),
    '',
    '## The messaging toolkit: the long run with kills',
    'Workers are killed one after the other while messages flow through them: [how](messaging/long-run.md).',
    '',
    ...soakSection(soak ?? null, { name: 'soak', of: soakEngines }),
    '',
    '### With the host of a shared file killed too',
    'On the embedded engine the publisher has opened the file first, so in the run above the process that writes it was never killed. Here each third kill is the',
    "publisher's, and whoever is the host after it may be the next.",
    '',
    ...soakSection(soakHost ?? null, { name: 'soak-host', of: ['embedded'] }),
    '',
    '## What is not claimed',
    '- The order promised is the order of durable recording, not of clicking.',
    '- A disk that lies about syncing, and an asynchronous copy, are found where receipts exist, not prevented. `kill -9` keeps the page cache: it shows what a crash of',
    '  the process leaves, not a loss of power; the simulated crash rolls uncommitted work back, and does not tear pages.',
    '- The simulation reaches what its workload and faults reach; what no seed reached is listed above. It is no proof, and neither are the bounds.',
    '- A messenger with an unknown outcome may carry the same voucher twice; it is never another voucher.',
    '- Timings were taken with the load on the same machine. Absolute figures are of that machine; compare ratios.',
    '- Sales (I7) and a ledger on PostgreSQL are not built yet. Doorbuster itself runs on the embedded engines only; those for RabbitMQ, Kafka and Redis are of the toolkit alone.',
    '',
  ].join('\n');
  return [{ path: 'docs/evidence.md', text }];
};
