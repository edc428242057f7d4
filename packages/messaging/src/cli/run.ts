/**
 * One run of the command line: parse, find the command, run it, print one failure, return the exit code. Streams, environment and engine come from
 * outside, so that a test runs it in its own process; `main.ts` gives the real ones.
 */
import { readFile } from 'node:fs/promises';
import type { Clock } from '../clock.ts';
import { withoutSecret } from '../without-secret.ts';
import { type ChannelsModule, loadChannels, noModule } from './channels-module.ts';
import { type Command, type CommandContext, Values } from './command.ts';
import { commandOf, meant, strangeOptionIn, wordsOf } from './command-words.ts';
import { commands, families, PROGRAM } from './commands.ts';
import { bugOf, type ExitCode, exitCodes, type Failure, failureOf, usage } from './failure.ts';
import { helpOf, helpOfFamily, overview } from './help.ts';
import { absenceOf } from './known.ts';
import { parseOptions } from './options.ts';
import { placesOf } from './reason.ts';
import { type OpenEngine, type OpenSession, openSession } from './session.ts';
import { type Stream, Terminal } from './terminal.ts';
import type { Unawaited } from './unawaited.ts';

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: Stream;
  readonly stderr: Stream;
  readonly stdin: { readonly isTTY: boolean; readonly read: () => Promise<string> };
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly unawaited: Unawaited;
  readonly openEngine: OpenEngine;
  readonly version: string;
}

export async function run(written: readonly string[], around: Surroundings): Promise<ExitCode> {
  const argv = argvOf(written);
  const terminal = terminalOf(argv, around);
  try {
    return await around.unawaited.ending(() => dispatch(argv, around, terminal));
  } catch (error) {
    // A second document on stdout would make the first one none.
    return tell(argv, error, terminal, terminal.json && !around.unawaited.hasTold);
  }
}

const argvOf = (written: readonly string[]): readonly string[] =>
  written.map((one) => (one === '-h' ? '--help' : one));

function terminalOf(
  argv: readonly string[],
  { env, stdout, stderr }: Pick<Surroundings, 'env' | 'stdout' | 'stderr'>,
): Terminal {
  return new Terminal(stdout, stderr, {
    json: argv.includes('--json'),
    quiet: argv.includes('--quiet'),
    colour: env['NO_COLOR'] === undefined && env['TERM'] !== 'dumb',
  });
}

/** Where a bug was thrown goes to stderr, with --json too. */
function tell(argv: readonly string[], error: unknown, terminal: Terminal, asData: boolean): ExitCode {
  const found = failureOf(error);
  const failure = withoutSecretsOf(argv, found ?? bugOf(error));
  if (asData) terminal.data(failure, () => '');
  else {
    terminal.warn(`${PROGRAM}: ${failure.error}`);
    terminal.warn(failure.remedy);
  }
  if (!found) terminal.warn(placesOf(error));
  return failure.exitCode;
}

/** An address that was given in a wrong place (`--channels amqp://...`, no option before it) is named without what opens it. */
function withoutSecretsOf(argv: readonly string[], failure: Failure): Failure {
  const given = argv.map((one) => (one.startsWith('--') ? one.slice(one.indexOf('=') + 1) : one));
  const shown = (text: string): string =>
    given
      .filter((one) => one.includes('://'))
      .reduce((left, one) => left.replaceAll(one, () => withoutSecret(one)), text);
  return { ...failure, error: shown(failure.error), remedy: shown(failure.remedy) };
}

async function dispatch(
  argv: readonly string[],
  around: Surroundings,
  terminal: Terminal,
): Promise<ExitCode> {
  const found = commandOf(argv);
  if (!found) {
    if (argv.includes('--version')) return said(around, around.version);
    const [word] = wordsOf(argv);
    if (argv.includes('--help') || argv.length === 0 || word === 'help')
      return said(around, helpOn(argv.filter((one) => one !== 'help')));
    throw noCommandIn(argv);
  }
  const { command, rest } = found;
  if (rest.includes('--help')) return said(around, helpOf(command));
  if (rest.includes('--version')) return said(around, around.version);
  const { values, positionals } = parseOptions(command, rest);
  return work(command, new Values(values), positionals, around, terminal);
}

function noCommandIn(argv: readonly string[]): Error {
  const strange = strangeOptionIn(argv);
  const words = wordsOf(argv);
  if (strange !== undefined)
    return usage(
      `there is no option ${strange}`,
      `${PROGRAM} --help shows the commands and the options of each.`,
    );
  return usage(
    words.length === 0 ? 'no command was given' : `there is no command "${words.join(' ')}"`,
    `${meant(argv)}One of: ${commands.map(({ name }) => name).join(', ')}. ${PROGRAM} --help tells what they do.`,
  );
}

/** Of the command that is named beside `help`, of the commands that begin with a word, or of all where none is named. */
function helpOn(named: readonly string[]): string {
  const found = commandOf(named);
  if (found) return helpOf(found.command);
  const words = wordsOf(named);
  if (words.length === 0) return overview();
  const family = families.find(({ name }) => words.length === 1 && name === words[0]);
  if (!family) throw noCommandIn(named);
  return helpOfFamily(family);
}

function said({ stdout }: Surroundings, text: string): ExitCode {
  stdout.write(`${text}\n`);
  return exitCodes.ok;
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
  const { clock, env, signal, unawaited } = around;
  const context: CommandContext = {
    arguments: positionals,
    values,
    terminal,
    clock,
    env,
    signal,
    unawaited,
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
