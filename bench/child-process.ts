/**
 * A process of the benchmark: started from its TypeScript file, configured by one JSON argument, spoken to over Node's IPC. It says something when it
 * is ready, may be asked, and ends when it is told to; what it prints goes to stderr.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const flags = ['--conditions=doorbuster-source', '--disable-warning=ExperimentalWarning'];

export class BenchProcess {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #heard: unknown[] = [];
  #waiting: { resolve(message: unknown): void; reject(error: Error): void } | null = null;
  #ended: Error | null = null;

  /** `file`: beside this one. `nodeFlags`: for a profile. */
  constructor(file: string, options: object, nodeFlags: readonly string[] = []) {
    this.#name = file;
    const path = fileURLToPath(new URL(file, import.meta.url));
    this.#child = spawn(process.execPath, [...flags, ...nodeFlags, path, JSON.stringify(options)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#child.on('message', (message) => {
      this.#heard.push(message);
      this.#settle();
    });
    this.#child.on('exit', (code, signal) => {
      this.#ended = new Error(`${this.#name} ended with ${String(code ?? signal)}`);
      this.#settle();
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The next thing it says. Rejects when it ends first. One caller at a time. */
  said<T>(): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve: (message) => resolve(message as T), reject };
      this.#settle();
    });
  }

  #settle(): void {
    const waiting = this.#waiting;
    if (waiting === null || (this.#heard.length === 0 && this.#ended === null)) return;
    this.#waiting = null;
    if (this.#heard.length > 0) waiting.resolve(this.#heard.shift());
    else if (this.#ended) waiting.reject(this.#ended);
  }

  /** Asks by name; the answer is the next thing it says. */
  ask<T>(question: string): Promise<T> {
    this.#child.send({ ask: question });
    return this.said<T>();
  }

  /** Tells it to end, and waits; kills it after `graceMs`. */
  async stop(graceMs = 30_000): Promise<void> {
    if (this.#isOver()) return;
    const exit = once(this.#child, 'exit');
    if (this.#child.connected) this.#child.send('stop');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), graceMs);
    await exit;
    clearTimeout(timer);
  }

  /** As a power cut ends it. Resolves with the time of the kill, as `performance.now()`. */
  async kill(): Promise<number> {
    const at = performance.now();
    if (this.#isOver()) return at;
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exit;
    return at;
  }

  #isOver(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
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

/** In a child: answers what it is asked until it is told to end, or its parent is gone. */
export function told(answers: Readonly<Record<string, () => object>> = {}): Promise<void> {
  return new Promise((resolve) => {
    process.on('message', (message) => {
      if (message === 'stop') return resolve();
      const answer = answers[(message as { readonly ask: string }).ask];
      if (answer) void say(answer());
    });
    process.once('disconnect', () => resolve());
  });
}
