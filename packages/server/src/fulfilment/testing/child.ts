/** Starts the processes that fulfilment's tests talk to. They end with the test, because their stdin does. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const repository = fileURLToPath(new URL('../../../../../', import.meta.url));

export interface Child {
  readonly process: ChildProcess;
  /** The next line on its stdout, as JSON. */
  next(): Promise<Record<string, unknown>>;
  write(line: object): void;
  kill(signal?: NodeJS.Signals): Promise<void>;
}

/** `file` is relative to the repository, or absolute. */
export function startChild(file: string, args: readonly string[] = []): Child {
  const path = file.startsWith('/') ? file : `${repository}${file}`;
  const child = spawn(process.execPath, ['--conditions=doorbuster-source', path, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = linesOf(createInterface({ input: child.stdout }));
  return {
    process: child,
    next: lines,
    write: (line) => void child.stdin.write(`${JSON.stringify(line)}\n`),
    async kill(signal = 'SIGKILL') {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const closed = once(child, 'exit');
      child.kill(signal);
      await closed;
    },
  };
}

function linesOf(input: Interface): () => Promise<Record<string, unknown>> {
  const ready: string[] = [];
  const waiting: { resolve: (line: string) => void; reject: (error: Error) => void }[] = [];
  input.on('line', (line) => {
    const waiter = waiting.shift();
    if (waiter) waiter.resolve(line);
    else ready.push(line);
  });
  input.on('close', () => waiting.splice(0).forEach(({ reject }) => reject(new Error('the process ended'))));
  return async () => {
    const line =
      ready.shift() ?? (await new Promise<string>((resolve, reject) => waiting.push({ resolve, reject })));
    return JSON.parse(line) as Record<string, unknown>;
  };
}

export interface Mail {
  readonly messageId: string;
  readonly to: string;
  readonly subject: string;
  readonly text: string;
}

export async function startSmtpSink(file: string, args: readonly string[] = []) {
  const child = startChild('examples/smtp-sink/main.ts', ['--stdin-control', '--file', file, ...args]);
  const { port } = await child.next();
  return { child, url: `smtp://127.0.0.1:${String(port)}`, mails: () => linesOfFile<Mail>(file) };
}

export interface Audit {
  readonly issued: readonly {
    readonly campaignId: string;
    readonly unit: number;
    readonly code: string;
    readonly transactionId: string;
  }[];
  readonly cancelled: readonly string[];
  readonly counts: Readonly<Record<string, number>>;
}

export async function startProvider(args: readonly string[] = []) {
  const child = startChild('examples/provider-simulator/main.ts', ['--stdin-control', ...args]);
  const { port } = await child.next();
  const url = `http://127.0.0.1:${String(port)}`;
  const audit = async (): Promise<Audit> =>
    (await (
      await fetch(`${url}/audit`, { headers: { authorization: 'Bearer simulator-secret' } })
    ).json()) as Audit;
  return { child, url, secret: 'simulator-secret', audit };
}

export function linesOfFile<T>(path: string): T[] {
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as T);
}
