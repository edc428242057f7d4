// docs/evidence.md: each promise, how it is kept and tested, and the latest figures, from docs/evidence/*.json (written by `npm run -s evidence`). What
// was not measured is said; no figure stands here that a command did not print.

import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Recorded } from '../evidence.ts';
import { notice, type Generator } from './generated.ts';

const folder = fileURLToPath(new URL('../../docs/evidence/', import.meta.url));

function recorded(name: string): Recorded | null {
  const file = `${folder}${name}.json`;
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Recorded) : null;
}

/** What the project wants of a figure, from the issue that asked for it. */
const wanted: Readonly<Record<string, string>> = {
  admissionOverBare: '>= 0.8',
  soldOutOverBare: '>= 0.95',
  admissionOverNaive: '>= 5',
  p99OverBareP99: '<= 3',
  costPerEntry1e6Over1e4: '<= 1.1',
  thousandCampaignsOverOne: '<= 1.1',
  bytesPerMember: '<= 40',
  recoveryMs: '<= 5,000',
};

const promises = [
  [
    'I1',
    'granted units <= capacity, each with one live holder',
    '`PRIMARY KEY (campaign, unit)`, a check on the capacity, serial decisions in the writer',
  ],
  [
    'I2',
    'a signed receipt matches the ledger for ever',
    'signed after the commit; records are append-only, chained batch by batch',
  ],
  [
    'I3',
    'one live grant and one distinct voucher a member',
    "one entry a member; the provider's transaction id comes from the unit; a fence on every claim",
  ],
  [
    'I4',
    'seq 1..n without gap, the order never changes, the chain verifies',
    'numbers are given inside the transaction that stores them',
  ],
  [
    'I5',
    'nobody is told "sold out" while a unit was free',
    'only a current SOLD_OUT record yields it; memory moves after commits only',
  ],
  ['I6', 'free + reserved + held + issued + void = capacity at every commit', '`CHECK` on the lane'],
  ['I7', 'captured money has a unit or a finished refund', 'sales are not built yet: nothing is claimed'],
  [
    'I8',
    'everything admitted is delivered or parked within 60 s of calm',
    'outbox, sweep, leases, reconciliation',
  ],
  [
    'I9',
    'nothing is shown to anyone before it is durable',
    'answers, events and counts hang on the reply of the commit',
  ],
] as const;

const number = (value: unknown): string =>
  typeof value === 'number'
    ? value.toLocaleString('en-US', { maximumFractionDigits: 3 })
    : String(value ?? '-');

/** With no failure in n independent runs, the chance of one in a run is below 3/n at 95 % confidence. */
function bound(n: number): string {
  return n > 0 ? `0 in ${number(n)}, so below ${(3 / n).toPrecision(2)} a run` : '-';
}

function source(name: string, { command, commit, clean, measuredOn, seconds, machine }: Recorded): string {
  const { processor, cores, memoryGiB, system, node } = machine;
  const state = clean ? `commit \`${commit}\`` : `commit \`${commit}\` with changes`;
  return `\`${command}\` (${name}), ${state}, ${measuredOn}, ${number(seconds)} s, ${cores} cores of ${processor}, ${memoryGiB} GiB, ${system}, Node ${node}.`;
}

const notMeasured = (name: string): string => `Not recorded yet: \`npm run -s evidence -- ${name}\`.`;

function countsOf(value: unknown): [string, number][] {
  return typeof value === 'object' && value !== null ? (Object.entries(value) as [string, number][]) : [];
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
}

function promiseSection(simulation: Recorded | null, chaos: Recorded | null): string[] {
  const seeds = Number(simulation?.result['seeds'] ?? 0);
  const cycles = Number(chaos?.result['cycles'] ?? 0);
  return [
    ...table(['#', 'promise', 'how it is kept'], promises),
    '',
    "The invariants are code (`packages/core/src/invariants/`), and every harness imports the same: simulation, chaos, the demo's auditor, `doorbuster verify`, a job",
    'of the running server. What none of them found, stated as what it is:',
    '',
    ...table(
      ['judge', 'violations', 'n and the bound 3/n (95 %)'],
      [
        [
          'simulation, one seed a run',
          number(simulation?.result['violations']),
          simulation ? bound(seeds) : notMeasured('simulation'),
        ],
        [
          'chaos, one kill cycle a run',
          number(chaos?.result['violations']),
          chaos ? bound(cycles) : notMeasured('chaos'),
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
  const faults = countsOf(simulation.result['faults']);
  const missing = Array.isArray(unreached) ? (unreached as string[]) : null;
  return [
    source('simulation', simulation),
    '',
    `${number(seeds)} seeds, ${number(commands)} commands, ${number(simulatedHours)} simulated hours, trace \`${String(traceHash).slice(0, 16)}\`. Faults: ${faults
      .map(([kind, count]) => `${kind} ${number(count)}`)
      .join(', ')}.`,
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
  const { failpoints, ...figures } = chaos.result;
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
    `Kills at named points: ${countsOf(failpoints)
      .map(([name, count]) => `${name} ${number(count)}`)
      .join(', ')}.`,
  ];
}

function benchSection(bench: Recorded | null): string[] {
  if (!bench) return [notMeasured('bench')];
  const row = ([name, value]: [string, unknown]): string[] => [name, number(value), wanted[name] ?? '-'];
  const plain = Object.entries(bench.result).filter(([, value]) => typeof value === 'number');
  return [
    source('bench', bench),
    '',
    ...table(['figure', 'measured', 'wanted'], [...countsOf(bench.result['ratios']), ...plain].map(row)),
    '',
    'What bounds each, and what was tried: [benchmarks](internals/benchmarks.md).',
  ];
}

export const generate: Generator = () => {
  const [simulation, controls, chaos, bench] = ['simulation', 'controls', 'chaos', 'bench'].map(recorded);
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
    'Each with its test and its control: [failures](internals/failures.md), [security](internals/security.md).',
    '',
    '## Speed and size',
    ...benchSection(bench ?? null),
    '',
    '## What is not claimed',
    '- The order promised is the order of durable recording, not of clicking.',
    '- A disk that lies about syncing, and an asynchronous copy, are found where receipts exist, not prevented. `kill -9` keeps the page cache: it shows what a crash of',
    '  the process leaves, not a loss of power; the simulated crash rolls uncommitted work back, and does not tear pages.',
    '- The simulation reaches what its workload and faults reach; what no seed reached is listed above. It is no proof, and neither are the bounds.',
    '- A messenger with an unknown outcome may carry the same voucher twice; it is never another voucher.',
    '- Timings were taken with the load on the same machine. Absolute figures are of that machine; compare ratios.',
    '- Sales (I7), PostgreSQL, Redis, RabbitMQ and Kafka are not built yet.',
    '',
  ].join('\n');
  return [{ path: 'docs/evidence.md', text }];
};
