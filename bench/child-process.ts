/**
 * A process of the benchmark: started from its TypeScript file, configured by one JSON argument, spoken to over Node's IPC. It says one thing when it
 * is ready and ends when it is told to; what it prints goes to stderr.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const flags = ['--conditions=doorbuster-source', '--disable-warning=ExperimentalWarning'];

export class BenchProcess {
  readonly #child: ChildProcess;
  readonly #name: string;

  /** `file`: beside this one. `nodeFlags`: for a profile. */
  constructor(file: string, options: object, nodeFlags: readonly string[] = []) {
    this.#name = file;
    const path = fileURLToPath(new URL(file, import.meta.url));
    this.#child = spawn(process.execPath, [...flags, ...nodeFlags, path, JSON.stringify(options)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
  }

  /** The next thing it says. Rejects when it ends first. */
  async said<T>(): Promise<T> {
    const over = new AbortController();
    const ended = once(this.#child, 'exit', { signal: over.signal }).then(([code, signal]) => {
      throw new Error(`${this.#name} ended with ${String(code ?? signal)}`);
    });
    try {
      const [message] = (await Promise.race([
        once(this.#child, 'message', { signal: over.signal }),
        ended,
      ])) as [T];
      return message;
    } finally {
      over.abort();
      ended.catch(() => {});
    }
  }

  /** Tells it to end, and waits; kills it after `graceMs`. */
  async stop(graceMs = 30_000): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    if (this.#child.connected) this.#child.send('stop');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), graceMs);
    await exit;
    clearTimeout(timer);
  }
}

/** In a child: its options. */
export function optionsOf<T>(): T {
  return JSON.parse(process.argv[2] ?? '{}') as T;
}

/** In a child: says it, and resolves once it went out. */
export function say(message: object): Promise<void> {
  return new Promise((resolve, reject) => {
    if (process.send === undefined) return reject(new Error('not started by the benchmark'));
    process.send(message, (error: Error | null) => (error ? reject(error) : resolve()));
  });
}

/** In a child: resolves when it is told to end, or when its parent is gone. */
export function told(): Promise<void> {
  return new Promise((resolve) => {
    process.once('message', () => resolve());
    process.once('disconnect', () => resolve());
  });
}
