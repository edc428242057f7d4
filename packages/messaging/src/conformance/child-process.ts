/** A process of our own that is made to be killed or stopped: what it tells on stdout is a signal that a case waits for. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Collector, eventually } from './fixture.ts';

export interface ToldProcess {
  /** Every line it wrote so far. */
  readonly told: Collector<string>;
  /** The first line that begins with this word; rejects with what the process complained of. */
  line(word: string): Promise<string>;
  send(signal: NodeJS.Signals): void;
  /** Resolves when it is gone. */
  readonly ended: Promise<void>;
  /** For what it wrote to stderr. */
  trouble(): string;
}

/** Starts `entry` with the conditions that this process was started with. */
export function startChild(entry: URL, args: readonly string[]): ToldProcess {
  const child: ChildProcess = spawn(
    process.execPath,
    [...conditions(), '--disable-warning=ExperimentalWarning', fileURLToPath(entry), ...args],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let trouble = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    trouble += chunk.toString();
  });
  const told = new Collector<string>();
  if (child.stdout) createInterface(child.stdout).on('line', (line) => told.add(line));
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
  return {
    told,
    ended,
    trouble: () => trouble,
    send: (signal) => void child.kill(signal),
    async line(word) {
      const find = (): string | undefined => told.values.find((one) => one.split(' ')[0] === word);
      await eventually(
        async () => find() ?? (trouble === '' ? undefined : `failed: ${trouble}`),
        (found) => found !== undefined,
        `"${word}" of a child process`,
      );
      const found = find();
      if (found === undefined) throw new Error(`a child process failed before "${word}":\n${trouble}`);
      return found;
    },
  };
}

const conditions = (): string[] =>
  process.execArgv.flatMap((one, index, all) =>
    one.startsWith('--conditions=')
      ? [one]
      : one === '--conditions' || one === '-C'
        ? [one, all[index + 1] ?? '']
        : [],
  );
