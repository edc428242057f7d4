/** Help texts, from the command table. */
import type { Command, Family, OptionSpec, OptionSpecs } from './command.ts';
import { commands, globalOptions, PROGRAM } from './commands.ts';
import { type Exits, exitMeanings } from './exits.ts';

export function overview(): string {
  return [
    `${PROGRAM}: looks at a message bus, and mends it`,
    '',
    `Usage: ${PROGRAM} <command> [options]`,
    '',
    'Commands',
    ...aligned(commands.map(({ name, summary }) => [name, summary])),
    '',
    'Options of every command',
    ...optionLines(globalOptions),
    '',
    'Exit codes',
    ...exitLines(exitMeanings),
    '',
    `${PROGRAM} <command> --help tells more.`,
  ].join('\n');
}

export function helpOf(command: Command): string {
  return [
    `${PROGRAM} ${command.name}: ${command.summary}`,
    ...(command.details === undefined ? [] : ['', command.details]),
    '',
    `Usage: ${usageOf(command)}`,
    ...section(
      'Arguments',
      aligned(command.arguments.map(({ name, description }) => [`<${name}>`, description])),
    ),
    ...section('Options', optionLines(command.options)),
    ...section('Options of every command', optionLines(globalOptions)),
    ...section('Exit codes', exitLines(command.exits)),
    ...section(
      'Examples',
      command.examples.map((example) => `  ${PROGRAM} ${example}`),
    ),
  ].join('\n');
}

/** Of a first word that several commands have: what each of them does, and where the rest is told. */
export function helpOfFamily({ name, summary, details }: Family): string {
  const members = membersOf(name);
  const exits = Object.assign({}, ...members.map((one) => one.exits)) as Exits;
  const codes = Object.keys(exits).map((code) => [
    code,
    exitMeanings[Number(code) as keyof typeof exitMeanings],
  ]);
  return [
    `${PROGRAM} ${name}: ${summary}`,
    '',
    details,
    '',
    `Usage: ${PROGRAM} ${name} <${members.map((one) => one.name.slice(name.length + 1)).join(' | ')}> [options]`,
    ...section('Commands', aligned(members.map((one) => [one.name, one.summary]))),
    ...section('Options of every command', optionLines(globalOptions)),
    ...section('Exit codes', exitLines(Object.fromEntries(codes))),
    ...section(
      'Examples',
      members.flatMap(({ examples }) => examples.slice(0, 1)).map((example) => `  ${PROGRAM} ${example}`),
    ),
    '',
    `${PROGRAM} ${members[0]?.name} --help tells its options.`,
  ].join('\n');
}

const membersOf = (family: string): readonly Command[] =>
  commands.filter(({ name }) => name.startsWith(`${family} `));

export function usageOf({ name, arguments: taken, options }: Command): string {
  const needed = Object.entries(options)
    .filter(([, spec]) => spec.isRequired)
    .map(([option, spec]) => `--${option} ${spec.value}`);
  return [PROGRAM, name, ...taken.map((one) => `<${one.name}>`), ...needed, '[options]'].join(' ');
}

export function flagOf(name: string, { value }: OptionSpec): string {
  return value === undefined ? `--${name}` : `--${name} ${value}`;
}

function optionLines(options: OptionSpecs): readonly string[] {
  return aligned(
    Object.entries(options).map(([name, spec]) => [
      flagOf(name, spec),
      [
        spec.description,
        spec.isRequired ? '(required)' : '',
        spec.standard ? `(default: ${spec.standard})` : '',
      ]
        .filter((part) => part !== '')
        .join(' '),
    ]),
  );
}

const exitLines = (exits: Exits): readonly string[] => aligned(Object.entries(exits));

function section(title: string, lines: readonly string[]): readonly string[] {
  return lines.length === 0 ? [] : ['', title, ...lines];
}

function aligned(pairs: readonly (readonly [string, string])[]): readonly string[] {
  const width = Math.max(0, ...pairs.map(([left]) => left.length));
  return pairs.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}
