/** Child processes of the demo and of rehearsals: started with this Node and its flags, ended by their id, never left behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { CliError, exitCodes } from '../failure.ts';

export interface Child {
  readonly process: ChildProcess;
  /** Lines of stdout that are JSON objects, in order. */
  onLine(listener: (line: Record<string, unknown>) => void): void;
  /** The first JSON line; rejects when the process ends before. */
  readonly ready: Promise<Record<string, unknown>>;
  /** Exit code, after its output was read. */
  readonly ended: Promise<number>;
  stop(): Promise<void>;
}

/** `program`: path of a script. Its stderr is kept and shown when it fails. */
export function startChild(
  name: string,
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Child {
  const child = spawn(process.execPath, [...process.execArgv, program, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env,
  });
  const listeners: ((line: Record<string, unknown>) => void)[] = [];
  let tail = '';
  child.stderr.on('data', (chunk: Buffer) => {
    tail = (tail + chunk.toString()).slice(-4_000);
  });
  const lines = createInterface({ input: child.stdout });
  const ended = Promise.all([once(child, 'exit'), once(lines, 'close')]).then(
    ([[code]]) => (code as number | null) ?? 1,
  );
  const first = Promise.withResolvers<Record<string, unknown>>();
  first.promise.catch(() => undefined);
  lines.on('line', (text) => {
    if (!text.startsWith('{')) return;
    const line = JSON.parse(text) as Record<string, unknown>;
    first.resolve(line);
    for (const listener of listeners) listener(line);
  });
  void ended.then((code) =>
    first.reject(
      new CliError(
        exitCodes.failed,
        `The ${name} ended with code ${code}.\n${tail.trim()}`,
        'See its message above.',
      ),
    ),
  );
  return {
    process: child,
    onLine: (listener) => void listeners.push(listener),
    ready: first.promise,
    ended,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      await ended;
    },
  };
}
