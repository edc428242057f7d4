// docs/messaging/planted-defects.md: what was planted in each engine when its tests ran, and the case that has to catch it. From docs/evidence/engines.json
// (`npm run -s evidence -- engines`), whose list the run itself made of its tests, so that nothing stands here that was not planted and run.

import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { conformanceCases } from '@doorbuster/messaging/conformance';
import { type EngineDefects, leastPlanted } from '../engines/defects.ts';
import type { Recorded } from '../evidence.ts';
import { titleOf } from './capabilities.ts';
import { notice, type Generator } from './generated.ts';

const recordedAt = fileURLToPath(new URL('../../docs/evidence/engines.json', import.meta.url));

/** Runs that were recorded before the defects were listed have none. */
type Engines = Readonly<
  Record<
    string,
    { readonly defects?: EngineDefects; readonly notApplicable?: readonly { readonly name: string }[] }
  >
>;

const suite = conformanceCases.map(({ name }) => name);

const seeing = ({ list }: EngineDefects): ReadonlySet<string> =>
  new Set(list.flatMap(({ caught, caughtBy }) => (caught ? [caughtBy] : [])));

/** Of the suite's cases that apply to this engine, how many have been seen to fail there. */
function shareOf(name: string, { defects, notApplicable = [] }: Engines[string]): string {
  const seen = defects ? seeing(defects) : new Set<string>();
  // An engine may register the suite more than once: what applies in one of its forms applies.
  const left = Map.groupBy(notApplicable, ({ name: one }) => one.replace(/^[^:]+: /, ''));
  const applies = suite.filter((one) => seen.has(one) || !left.has(one));
  return `${titleOf(name)} ${applies.filter((one) => seen.has(one)).length} of ${applies.length}`;
}

/** What nobody has seen fail is said too: a case that passes whatever the engine does would look the same. */
function unseen(engines: Engines): string[] {
  const seen = new Set(
    Object.values(engines).flatMap(({ defects }) => (defects ? [...seeing(defects)] : [])),
  );
  const none = suite.filter((one) => !seen.has(one));
  const shares = Object.entries(engines).map(([name, engine]) => shareOf(name, engine));
  return [
    '## Cases of the suite without a planted defect',
    '',
    `Of the cases that apply to an engine, so many caught a defect there in this run: ${shares.join(', ')}. What is planted on one engine only says that the case sees it, not that it`,
    'would see it on the others.',
    '',
    ...(none.length === 0
      ? ['Each case caught one on some engine.']
      : [
          `These ${none.length} of ${suite.length} caught none on any engine:`,
          '',
          ...none.map((one) => `- ${one}`),
        ]),
  ];
}

/** A bar would end the cell. */
const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

const rowsOf = (engine: string, { list }: EngineDefects): string[] =>
  list.map(
    ({ of, defect, caughtBy, caught }) =>
      `| ${[of === titleOf(engine) ? of : `${titleOf(engine)} (${of})`, defect, caughtBy, caught ? 'yes' : '**no**'].map(cell).join(' | ')} |`,
  );

function listed(engines: Engines): string[] {
  const known = Object.entries(engines).flatMap(([name, { defects }]) =>
    defects ? [[name, defects] as const] : [],
  );
  const planted = known.reduce((sum, [, defects]) => sum + defects.planted, 0);
  const caught = known.reduce((sum, [, defects]) => sum + defects.caught, 0);
  const parts = known.map(([name, defects]) => `${titleOf(name)} ${defects.caught} of ${defects.planted}`);
  const few = known.filter(([, defects]) => defects.planted < leastPlanted).map(([name]) => name);
  return [
    `${caught} of ${planted} caught (${parts.join(', ')}).`,
    ...(few.length === 0
      ? []
      : ['', `**Fewer than ${leastPlanted}**, which is too little: ${few.join(', ')}.`]),
    '',
    '| engine | defect | case that has to catch it | caught |',
    '|---|---|---|---|',
    ...known.flatMap(([name, defects]) => rowsOf(name, defects)),
  ];
}

export function pageOf({ commit, measuredOn, result }: Recorded): string {
  const engines = (result['engines'] ?? {}) as Engines;
  const without = Object.entries(engines).flatMap(([name, { defects }]) => (defects ? [] : [name]));
  const names = without.length === Object.keys(engines).length ? 'any engine' : without.join(', ');
  return [
    notice,
    '# Planted defects',
    '',
    `What was planted in each engine when its tests ran against its server (commit ${commit}, ${measuredOn}), and the case that has to catch it. Each case had to pass without the defect`,
    `in the same run; a defect that no case sees, or fewer than ${leastPlanted} in an engine, end \`npm run -s test:engines\` with 1 ([how](../internals/engine-suites.md#planted-defects)).`,
    'What is planted in locks, in stores of streams and in telemetry is listed by `npm run -s test:engines -- --defects`.',
    '',
    ...(without.length === 0
      ? []
      : [
          `The run that is recorded lists no planted defects of ${names}: it is from before they were listed. \`npm run -s evidence -- engines\` records them.`,
          '',
        ]),
    ...(without.length === Object.keys(engines).length
      ? []
      : [...listed(engines), '', ...unseen(engines), '']),
  ].join('\n');
}

export const generate: Generator = () => {
  if (!existsSync(recordedAt)) return [];
  const recorded = JSON.parse(readFileSync(recordedAt, 'utf8')) as Recorded;
  return [{ path: 'docs/messaging/planted-defects.md', text: pageOf(recorded) }];
};
