/** Processes of the acceptance tests: started with this Node, spoken to by lines of JSON, ended by their id, never left behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { pause, systemClock } from '@doorbuster/messaging';

const repository = fileURLToPath(new URL('../../../../../', import.meta.url));
export const commandLine = 'packages/server/src/cli/main.ts';
const condition = '--conditions=doorbuster-source';

export interface StartedProcess {
  readonly process: ChildProcess;
  /** The next line of stdout that is JSON; rejects with the end of stderr when the process ends before. */
  next(): Promise<Record<string, unknown>>;
  write(line: object): void;
  /** Exit code, or the name of the signal. */
  readonly ended: Promise<number | string>;
  readonly stderr: () => string;
  kill(signal: NodeJS.Signals): Promise<void>;
}

export interface ProcessOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Flags of Node, for planted defects. */
  readonly nodeFlags?: readonly string[];
}

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** `program` is relative to the repository. */
export function startProcess(
  program: string,
  args: readonly string[],
  options: ProcessOptions = {},
): StartedProcess {
  const child = spawn(
    process.execPath,
    [condition, ...(options.nodeFlags ?? []), `${repository}${program}`, ...args],
    {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: {
        PATH: process.env.PATH ?? '',
        NODE_OPTIONS: '--disable-warning=ExperimentalWarning',
        NO_COLOR: '1',
        ...options.env,
      },
    },
  );
  running.add(child);
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr = (stderr + chunk.toString()).slice(-20_000);
  });
  child.stdin.on('error', () => undefined);
  const lines: Record<string, unknown>[] = [];
  const waiting: PromiseWithResolvers<Record<string, unknown>>[] = [];
  const output = createInterface({ input: child.stdout });
  output.on('line', (text) => {
    if (!text.startsWith('{')) return;
    const line = JSON.parse(text) as Record<string, unknown>;
    const waiter = waiting.shift();
    if (waiter) waiter.resolve(line);
    else lines.push(line);
  });
  const ended = Promise.all([once(child, 'exit'), once(output, 'close')]).then(([[code, signal]]) => {
    running.delete(child);
    for (const waiter of waiting.splice(0)) waiter.reject(new Error(`${program} ended: ${stderr.trim()}`));
    return (code as number | null) ?? (signal as string);
  });
  return {
    process: child,
    ended,
    stderr: () => stderr,
    write: (line) => void child.stdin.write(`${JSON.stringify(line)}\n`),
    async next() {
      const line = lines.shift();
      if (line) return line;
      if (!running.has(child)) throw new Error(`${program} ended: ${stderr.trim()}`);
      const waiter = Promise.withResolvers<Record<string, unknown>>();
      waiting.push(waiter);
      return waiter.promise;
    },
    async kill(signal) {
      child.kill(signal);
      await ended;
    },
  };
}

export interface CommandResult {
  readonly code: number | string;
  /** The first JSON object on stdout; null when there is none. */
  readonly json: Record<string, unknown> | null;
  readonly stderr: string;
}

/** Runs `doorbuster <args>` to its end. */
export async function runCommand(
  args: readonly string[],
  options: ProcessOptions = {},
): Promise<CommandResult> {
  const command = startProcess(commandLine, args, options);
  const line = command.next().catch(() => null);
  const code = await command.ended;
  return { code, json: await line, stderr: command.stderr() };
}

/** Asks again until the answer is there. Throws after `limitMs` with what was waited for: the one place of these tests that polls. */
export async function until<T>(
  what: string,
  ask: () => Promise<T | null | undefined | false> | T | null | undefined | false,
  limitMs = 30_000,
): Promise<T> {
  const end = systemClock.monotonic() + limitMs;
  for (;;) {
    const answer = await ask();
    if (answer !== null && answer !== undefined && answer !== false) return answer;
    if (systemClock.monotonic() > end) throw new Error(`waited ${limitMs} ms in vain: ${what}`);
    await pause(systemClock, 25);
  }
}
