// docs/reference/cli.md: every command, argument, option and default, from the command tree itself.

import type { Argument, Command, Option } from 'commander';
import { createProgram } from '../../packages/server/src/cli/program.ts';
import { exitCodes } from '../../packages/server/src/cli/failure.ts';
import { notice, type Generator } from './generated.ts';

/** When a command ends so; by the name of the exit code in the source. */
const exitMeanings: Readonly<Record<keyof typeof exitCodes, string>> = {
  ok: 'It did what was asked. `--help` too.',
  failed: 'It did not: the message says what, why and what to do next.',
  usage: 'Wrong command line, or a file that was named is missing or faulty. Nothing was done.',
  configuration:
    'The configuration, the secrets file, an API key or the data directory does not fit (port taken, second process on the same data, unsafe disk).',
  unreachable: 'The server or a provider does not answer, or asks to come back later.',
  partlyFailed: 'Done in part: an import that skipped faulty rows, a batch that still runs.',
  gateFailed:
    'A check found something: `verify`, `demo` and `rehearse` where an invariant does not hold, a halted or damaged ledger.',
};

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

function optionRow(option: Option): string {
  const choices = option.argChoices ? ` One of ${option.argChoices.map((c) => `\`${c}\``).join(', ')}.` : '';
  const isSet = option.defaultValue !== undefined && !option.negate;
  const standard = option.mandatory ? 'required' : isSet ? `\`${String(option.defaultValue)}\`` : '';
  return `| \`${cell(option.flags)}\` | ${standard} | ${cell(option.description)}${choices ? `.${choices}` : ''} |`;
}

function optionTable(options: readonly Option[]): string[] {
  const shown = options.filter((option) => !option.hidden);
  return shown.length === 0
    ? []
    : ['| option | default | what it does |', '|---|---|---|', ...shown.map(optionRow), ''];
}

const argumentText = (argument: Argument): string => {
  const name = argument.name() + (argument.variadic ? '...' : '');
  return argument.required ? `<${name}>` : `[${name}]`;
};

const sentence = (text: string): string => {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
};

/** A command and those below it, in the order in which they are registered. */
function sections(command: Command, path: readonly string[]): string[] {
  const name = [...path, command.name()].join(' ');
  if (command.commands.length > 0) {
    return [
      `## ${name}`,
      '',
      sentence(command.description()),
      '',
      ...command.commands.flatMap((inner) => leaf(inner, [...path, command.name()], '###')),
    ];
  }
  return leaf(command, path, '##');
}

function leaf(command: Command, path: readonly string[], heading: string): string[] {
  const name = [...path, command.name()].join(' ');
  const takes = [
    ...command.registeredArguments.map(argumentText),
    ...(command.options.length > 0 ? ['[options]'] : []),
  ];
  return [
    `${heading} ${name}`,
    '',
    sentence(command.description()),
    '',
    '```sh',
    [name, ...takes].join(' '),
    '```',
    '',
    ...optionTable(command.options),
  ];
}

export const generate: Generator = () => {
  const program = createProgram({});
  const exitRows = Object.entries(exitCodes).map(
    ([key, code]) => `| ${code} | ${exitMeanings[key as keyof typeof exitCodes]} |`,
  );
  const text = [
    notice,
    '# Command line',
    '',
    'In a clone `npm run -s doorbuster -- <command>` runs what is written `doorbuster <command>` here.',
    '',
    '## Conventions',
    '',
    '- Data goes to stdout, messages and progress to stderr; progress is drawn on a terminal only.',
    '- `--json` prints the data of a command as one JSON document. A failure is then one JSON object on stdout too, with `error`, `code`, `remedy`, `faults` and `exitCode`.',
    '- What cannot be undone asks for the name typed again; a script gives it with `--confirm`. With `--no-input`, or without a terminal, nothing is ever asked.',
    '- `NO_COLOR` is honoured. Options of the program may stand before or behind the command.',
    '- On the machine of the server nothing needs to be named: `serve` leaves its address and an operator key in the data directory. Elsewhere give `--url` and `--api-key`.',
    '',
    '| exit code | when |',
    '|---|---|',
    ...exitRows,
    '',
    '## Options of every command',
    '',
    ...optionTable(program.options),
    ...program.commands.flatMap((command) => sections(command, [program.name()])),
  ].join('\n');
  return [{ path: 'docs/reference/cli.md', text: `${text.trimEnd()}\n` }];
};
