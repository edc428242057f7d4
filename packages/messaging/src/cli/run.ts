/**
 * One run of the command line: parse, find the command, run it, print one failure, return the exit code. Streams, environment and engine come from
 * outside, so that a test runs it in its own process; `main.ts` gives the real ones.
 */
import { readFile } from 'node:fs/promises';
import type { Clock } from '../clock.ts';
import { type ChannelsModule, loadChannels, noModule } from './channels-module.ts';
import { type Command, type CommandContext, Values } from './command.ts';
import { commands, families, globalOptions, PROGRAM } from './commands.ts';
import { type ExitCode, exitCodes, failureOf, usage } from './failure.ts';
import { helpOf, helpOfFamily, overview } from './help.ts';
import { absenceOf } from './known.ts';
import { nearest, parseOptions } from './options.ts';
import { type OpenEngine, type OpenSession, openSession } from './session.ts';
import { type Stream, Terminal } from './terminal.ts';

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: Stream;
  readonly stderr: Stream;
  readonly stdin: { readonly isTTY: boolean; readonly read: () => Promise<string> };
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly openEngine: OpenEngine;
  readonly version: string;
}

export async function run(argv: readonly string[], around: Surroundings): Promise<ExitCode> {
  const isJson = argv.includes('--json');
  const terminal = new Terminal(around.stdout, around.stderr, {
    json: isJson,
    quiet: argv.includes('--quiet'),
    colour: around.env['NO_COLOR'] === undefined && around.env['TERM'] !== 'dumb',
  });
  try {
    return await dispatch(argv, around, terminal);
  } catch (error) {
    const failure = failureOf(error);
    if (!failure) throw error;
    if (isJson) terminal.data(failure, () => '');
    else {
      terminal.warn(`${PROGRAM}: ${failure.error}`);
      terminal.warn(failure.remedy);
    }
    return failure.exitCode;
  }
}

async function dispatch(
  argv: readonly string[],
  around: Surroundings,
  terminal: Terminal,
): Promise<ExitCode> {
  const found = commandOf(argv);
  if (!found) {
    if (argv.includes('--version')) return said(around, around.version);
    const strange = argv.find((one) => one.startsWith('--') && !isOption(one));
    const words = wordsOf(argv);
    const [word] = words;
    if (argv.includes('--help') || argv.length === 0 || word === 'help') return said(around, helpOn(argv));
    if (strange !== undefined)
      throw usage(
        `there is no option ${strange.split('=', 1)[0]}`,
        `${PROGRAM} --help shows the commands and the options of each.`,
      );
    throw usage(
      word === undefined ? 'no command was given' : `there is no command "${words.join(' ')}"`,
      `${meant(argv)}One of: ${commands.map(({ name }) => name).join(', ')}. ${PROGRAM} --help tells what they do.`,
    );
  }
  const { command, rest } = found;
  if (rest.includes('--help')) return said(around, helpOf(command));
  if (rest.includes('--version')) return said(around, around.version);
  const { values, positionals } = parseOptions(command, rest);
  return work(command, new Values(values), positionals, around, terminal);
}

/** Of the command that is named behind `help`, of the commands that begin with a word, or of all. */
function helpOn(argv: readonly string[]): string {
  const named = argv.filter((one) => one !== 'help');
  const found = commandOf(named);
  if (found) return helpOf(found.command);
  const family = families.find(({ name }) => name === wordsOf(named)[0]);
  return family ? helpOfFamily(family) : overview();
}

const isOption = (written: string): boolean =>
  [globalOptions, ...commands.map(({ options }) => options)].some((options) =>
    Object.hasOwn(options, written.slice(2).split('=', 1)[0] ?? ''),
  );

/** The command that is nearest (`dead-letters shwo`), else those that begin as the first word does (`dead-letters`). */
function meant(argv: readonly string[]): string {
  const words = argv.filter((one) => !one.startsWith('-'));
  const all = commands.map(({ name }) => name);
  const close = [words.slice(0, 2).join(' '), words[0] ?? ''].map((word) => nearest(word, all));
  const found = words.length > 0 ? close.find((one) => one !== undefined) : undefined;
  if (found !== undefined && found.includes(' ') === words.length > 1) return `Did you mean ${found}? `;
  const start = (words[0] ?? '').slice(0, 4);
  const near = commands.map(({ name }) => name).filter((name) => start !== '' && name.startsWith(start));
  return near.length === 0 ? '' : `Did you mean ${near.join(', or ')}? `;
}

/** What was probably meant as a command: the second word too, where a command begins with the first. */
function wordsOf(argv: readonly string[]): readonly string[] {
  const [first, second] = argv.filter((one) => !one.startsWith('-'));
  if (first === undefined) return [];
  const isHalf = commands.some(({ name }) => name.startsWith(`${first} `));
  return isHalf && second !== undefined ? [first, second] : [first];
}

function said({ stdout }: Surroundings, text: string): ExitCode {
  stdout.write(`${text}\n`);
  return exitCodes.ok;
}

/** Options of the program may stand before the command; their values are no words of it. */
function commandOf(argv: readonly string[]): { command: Command; rest: readonly string[] } | undefined {
  const words: number[] = [];
  for (let at = 0; at < argv.length && words.length < 2; at += 1) {
    const word = argv[at] as string;
    if (!word.startsWith('-')) words.push(at);
    else if (globalOptions[word.slice(2)]?.value !== undefined) at += 1;
    else if (words.length > 0) break;
  }
  for (const count of [2, 1]) {
    const taken = words.slice(0, count);
    const name = taken.map((at) => argv[at]).join(' ');
    const command = taken.length === count && commands.find((one) => one.name === name);
    if (command) return { command, rest: argv.filter((_, at) => !taken.includes(at)) };
  }
  return undefined;
}

async function work(
  command: Command,
  values: Values,
  positionals: readonly string[],
  around: Surroundings,
  terminal: Terminal,
): Promise<ExitCode> {
  let loaded: Promise<ChannelsModule> | undefined;
  let opened: Promise<OpenSession> | undefined;
  const path = values.text('channels');
  const module = (): Promise<ChannelsModule> =>
    (loaded ??= path === undefined ? Promise.resolve(noModule) : loadChannels(path));
  const session = async (): Promise<OpenSession> => {
    opened ??= openSession({
      url: values.text('url') ?? around.env['DOORBUSTER_BUS_URL'],
      module: await module(),
      clock: around.clock,
      openEngine: around.openEngine,
      onAbsent: (names) => terminal.say(absenceOf(names)),
      onFatal: (error) => terminal.warn(`${PROGRAM}: the engine failed: ${error.message}`),
    });
    return opened;
  };
  const { clock, env, signal } = around;
  const context: CommandContext = {
    arguments: positionals,
    values,
    terminal,
    clock,
    env,
    signal,
    session,
    module,
    read: (file) => readInput(file, around, values.flag('no-input')),
  };
  try {
    return await command.run(context);
  } finally {
    await opened?.then(
      (one) => one.close(),
      () => {},
    );
  }
}

async function readInput(path: string, { stdin }: Surroundings, noInput: boolean): Promise<string> {
  if (path === '-') {
    if (stdin.isTTY && noInput)
      throw usage(
        'no data: stdin is a terminal and --no-input was given',
        'Pipe the data in, or name a file with --data.',
      );
    return stdin.read();
  }
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw usage(
      `${path} cannot be read: ${(error as Error).message}`,
      'Name a file that is there, or "-" for stdin.',
    );
  }
}
