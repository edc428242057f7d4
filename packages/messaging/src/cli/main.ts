/** Entry of `doorbuster-bus`: the process's own streams, environment and signals around one run. */
import { readFileSync, writeSync } from 'node:fs';
import { systemClock } from '../clock.ts';
import { CliFailure, type ExitCode, exitCodes } from './failure.ts';
import { run } from './run.ts';
import { openExisting } from './session.ts';
import { Unawaited } from './unawaited.ts';

/** A reader that went away (`| head`) is no failure. A full disk is one: what was to be read is not there, whatever the command did. */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(exitCodes.ok);
  try {
    writeSync(process.stderr.fd, `doorbuster-bus: stdout could not be written: ${error.message}\n`);
  } catch {
    // It may be the same disk.
  }
  process.exit(exitCodes.failed);
});
/** Nobody is left who could be told. */
process.stderr.on('error', () => {});

/** The first Ctrl-C ends the work after the step under way; the second ends the process. */
const stopping = new AbortController();
process.once('SIGINT', () => stopping.abort());
process.once('SIGTERM', () => stopping.abort());

async function readStdin(): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of process.stdin) parts.push(part as Buffer);
  return Buffer.concat(parts).toString('utf8');
}

const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

/**
 * The command has closed what it opened. What a module of the application holds open besides (a pool, a timer) nobody here can close, and it would keep an operator's shell for as long as
 * it lasts.
 */
async function end(code: ExitCode): Promise<never> {
  await Promise.all(
    [process.stdout, process.stderr].map(
      (stream) => new Promise<void>((written) => stream.write('', () => written())),
    ),
  );
  process.exit(code);
}

const unawaited = new Unawaited(systemClock);

/** What nobody awaits, for instance a pool of the module that nobody listens to. Node would print the line that threw it, with the password that stands in it. */
process.on('uncaughtException', (error) => unawaited.broke(error));

/** Nothing is under way any more, and the run is not over: Node would end it with 13 and not a word. */
process.once('beforeExit', () =>
  unawaited.broke(
    new CliFailure(
      exitCodes.failed,
      'it cannot go on: it waits for something, and nothing is under way that could still bring it',
      'Look in the module of --channels for a promise that is never settled, awaited at its top level or in a function that it exports.',
    ),
  ),
);

const code = await run(process.argv.slice(2), {
  env: process.env,
  stdout: process.stdout,
  stderr: process.stderr,
  stdin: { isTTY: process.stdin.isTTY === true, read: readStdin },
  clock: systemClock,
  signal: stopping.signal,
  unawaited,
  openEngine: openExisting,
  version: manifest.version,
});
await end(code);
