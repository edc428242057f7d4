// docs/messaging/capabilities.md: what each engine stated when the conformance suite ran against its server, and what the suite left out there with the reason.
// From docs/evidence/engines.json (`npm run -s evidence -- engines`), so that no table is typed by hand.

import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Capabilities } from '@doorbuster/messaging';
import { isConformance } from '../engines/suites.ts';
import type { Recorded } from '../evidence.ts';
import { notice, type Generator } from './generated.ts';

/** What `test:engines` says of an engine; runs that were recorded before it counted more than the suite have no `files`. */
interface EngineResult {
  readonly passed: number;
  readonly failed?: number;
  readonly skipped?: number;
  readonly notApplicable: readonly { readonly name: string; readonly reason: string }[];
  readonly files?: Readonly<Record<string, { readonly passed: number }>>;
  /** Undefined where no case of the suite got as far as to connect. */
  readonly capabilities?: Capabilities;
}

/** The cases of the suite alone, without the engine's own tests. */
const casesOf = ({ passed, files }: EngineResult): number =>
  files
    ? Object.entries(files).reduce((sum, [file, of]) => sum + (isConformance(file) ? of.passed : 0), 0)
    : passed;

const notPassed = ({ failed = 0, skipped = 0 }: EngineResult): number => failed + skipped;

/** `redisLists` calls itself `redis-lists`. */
export const titleOf = (name: string): string =>
  name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

const recordedAt = fileURLToPath(new URL('../../docs/evidence/engines.json', import.meta.url));

function delayOf({ support, maxMs, resolutionMs }: Capabilities['delay']): string {
  if (support === 'none') return support;
  const most = maxMs >= Number.MAX_SAFE_INTEGER / 2 ? 'no limit' : `up to ${Math.floor(maxMs / 3_600_000)} h`;
  return `${support}, ${most}, steps of ${resolutionMs} ms`;
}

const rows: readonly (readonly [name: string, of: (can: Capabilities) => string])[] = [
  ['server', (can) => can.version],
  ['a confirm means', (can) => `\`${can.confirm}\``],
  ['order per key', (can) => can.orderPerKey],
  ['delay', (can) => delayOf(can.delay)],
  [
    'priority',
    ({ priority }) =>
      priority.support === 'none' ? 'none' : `${priority.support}, ${priority.levels} levels`,
  ],
  ['time to live', ({ ttl }) => (ttl.support === 'none' ? 'none' : `${ttl.support}, per ${ttl.granularity}`)],
  ['replay', (can) => can.replay],
  ['routing: direct', ({ routing }) => routing.direct],
  ['routing: fanout', ({ routing }) => routing.fanout],
  ['routing: topic', ({ routing }) => routing.topic],
  ['routing: headers', ({ routing }) => routing.headers],
  ['broadcast', (can) => can.broadcast],
  // Runs that were recorded before it was stated: who keeps nothing confirms nothing.
  ['dead letters', (can) => can.deadLetters ?? (can.confirm === 'none' ? 'none' : 'native')],
  ['processes on one store', (can) => can.processes],
  ['largest message', (can) => `${Math.round(can.maxMessageBytes / 1024)} KiB`],
];

/** Cases of one reason in one line: what cannot be done is written out, not skipped in silence. */
function leftOut(name: string, { notApplicable }: EngineResult): string[] {
  const byReason = Map.groupBy(notApplicable, ({ reason }) => reason);
  if (byReason.size === 0) return [`**${name}**: nothing.`, ''];
  return [
    `**${name}**`,
    '',
    ...[...byReason].map(
      ([reason, cases]) =>
        `- ${reason}: ${[...new Set(cases.map((one) => one.name.replace(/^[^:]+: /, '')))].join('; ')}`,
    ),
    '',
  ];
}

export function pageOf({ commit, measuredOn, result }: Recorded): string {
  const recorded = result['engines'] as Readonly<Record<string, EngineResult>>;
  const engines = Object.entries(recorded).map(([name, engine]) => [titleOf(name), engine] as const);
  const cells = (of: (engine: EngineResult) => string): string =>
    engines.map(([, engine]) => of(engine)).join(' | ');
  return [
    notice,
    '# What each engine can do',
    '',
    `As stated by the connected engine when the conformance suite ran against its server (commit ${commit}, ${measuredOn}), and held to it by the suite. A channel names what it`,
    'needs in `requires`; `bus.start()` refuses what is `none`, and what is `emulated` unless the channel accepts it by name in `emulation`',
    `(${['order', 'delay', 'priority', 'ttl', 'routing'].map((one) => `\`${one}\``).join(', ')}). Brokers of other versions or settings may state other things: \`bus.view()\` shows them.`,
    'What an engine lacks whatever its server (`EngineLacking`) does not even compile in `bus.declare()`. `requires` is `confirm`, `delay: { maxMs }`, `priority: { levels }`, `ttl`,',
    '`replay: { keepMs }`, `routing`, `broadcast`, `deadLetters`, `size: { maxBytes }`; broadcast goes with nothing that rests on a message being kept, and is refused beside it.',
    '',
    `| | ${engines.map(([name]) => name).join(' | ')} |`,
    `|---|${engines.map(() => '---').join('|')}|`,
    ...rows.map(
      ([name, of]) =>
        `| ${name} | ${cells(({ capabilities }) => (capabilities ? of(capabilities) : 'not known'))} |`,
    ),
    `| cases of the suite passed | ${cells((engine) => String(casesOf(engine)))} |`,
    ...(engines.some(([, { files }]) => files)
      ? [`| with the engine's own tests | ${cells(({ passed }) => String(passed))} |`]
      : []),
    ...(engines.some(([, engine]) => notPassed(engine) > 0)
      ? [`| **failed or not run** | ${cells((engine) => String(notPassed(engine)))} |`]
      : []),
    '',
    '## What the suite leaves out, and why',
    '',
    ...engines.flatMap(([name, engine]) => leftOut(name, engine)),
  ].join('\n');
}

export const generate: Generator = () => {
  if (!existsSync(recordedAt)) return [];
  const recorded = JSON.parse(readFileSync(recordedAt, 'utf8')) as Recorded;
  return [{ path: 'docs/messaging/capabilities.md', text: pageOf(recorded) }];
};
