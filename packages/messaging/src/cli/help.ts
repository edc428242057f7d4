/** Help texts, from the command table. */
import type { Command, OptionSpec, OptionSpecs } from './command.ts';
import { commands, globalOptions, PROGRAM } from './commands.ts';

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
    `${PROGRAM} <command> --help tells more. Exit codes: 0 ok, 1 failed, 2 usage, 3 configuration, 4 unreachable, 5 partly done.`,
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
    ...section(
      'Examples',
      command.examples.map((example) => `  ${PROGRAM} ${example}`),
    ),
  ].join('\n');
}

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

function section(title: string, lines: readonly string[]): readonly string[] {
  return lines.length === 0 ? [] : ['', title, ...lines];
}

function aligned(pairs: readonly (readonly [string, string])[]): readonly string[] {
  const width = Math.max(0, ...pairs.map(([left]) => left.length));
  return pairs.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}
