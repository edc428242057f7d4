/**
 * A process of our own that is made to be killed or stopped: what it tells on stdout is a signal that a case waits for. Loading it is no part of any case: on a machine
 * at work it takes many times as long as on an idle one, so a case's patience begins when the process says that it is there, with the line `ready` or
 * with any other.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { pause, systemClock } from '../clock.ts';
import { Collector, eventually } from './fixture.ts';

/** Whatever the patience of a case is, ms: reached only when the process hangs. */
const START_PATIENCE_MS = 60_000;

export interface ToldProcess {
  /** Every line it wrote so far, but for `ready`. */
  readonly told: Collector<string>;
  /** Resolves with its first line; rejects, with what it complained of, when it ends before or says nothing for a minute. */
  readonly started: Promise<void>;
  /** The first line that begins with this word, waited for from its start on; rejects with what the process complained of. */
  line(word: string): Promise<string>;
  send(signal: NodeJS.Signals): void;
  /** SIGSTOP, until a SIGCONT; resolves when all of it stands still. */
  freeze(): Promise<void>;
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
  const begun = new AbortController();
  let isThere = false;
  if (child.stdout)
    createInterface(child.stdout).on('line', (line) => {
      isThere = true;
      if (line !== 'ready') told.add(line);
      begun.abort();
    });
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
  void ended.then(() => begun.abort());
  const started = pause(systemClock, START_PATIENCE_MS, begun.signal).then(() => {
    if (!isThere) throw new Error(`a child process did not start:\n${trouble}`);
  });
  started.catch(() => {});
  return {
    told,
    started,
    ended,
    trouble: () => trouble,
    send: (signal) => void child.kill(signal),
    async freeze() {
      child.kill('SIGSTOP');
      await standsStill(child.pid ?? 0);
    },
    async line(word) {
      await started;
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

/** A SIGSTOP goes from thread to thread: on a busy machine some go on answering for as long as a commit and a farewell take. */
export async function standsStill(pid: number): Promise<void> {
  await eventually(
    async () => runningThreads(pid),
    (count) => count === 0,
    'a process of which every thread stands still',
  );
}

/** Those that do not stand still yet. Only Linux tells; elsewhere none. */
function runningThreads(pid: number): number {
  const threads = `/proc/${pid}/task`;
  if (!existsSync(threads)) return 0;
  return readdirSync(threads).filter((thread) => {
    try {
      // The name in brackets may hold anything; the state is behind it.
      const stat = readFileSync(join(threads, thread, 'stat'), 'utf8');
      return stat.charAt(stat.lastIndexOf(')') + 2) !== 'T';
    } catch {
      // It has ended meanwhile.
      return false;
    }
  }).length;
}
