/** A Redis server of a test's own, for what must not be done to one that others use: settings, a kill, a memory that is full. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '../../conformance/fixture.ts';
import { openClient, type RedisClient } from '../client.ts';

export const hasServerProgram = (): boolean => spawnSync('redis-server', ['--version']).status === 0;

export interface OwnServer {
  readonly url: string;
  raw(...args: readonly string[]): Promise<unknown>;
  /** SIGKILL, and a new process on the same data. */
  restart(): Promise<void>;
  /** SIGSTOP: it keeps its connections and answers nothing. */
  halt(): void;
  /** SIGCONT. */
  goOn(): void;
  destroy(): Promise<void>;
}

export async function startOwnServer(...settings: readonly string[]): Promise<OwnServer> {
  const folder = mkdtempSync(join(tmpdir(), 'redis-'));
  const port = await freePort();
  const url = `redis://127.0.0.1:${port}`;
  let process_ = run();
  let client = await connect();

  function run(): ChildProcess {
    const place = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', ''];
    return spawn('redis-server', [...place, ...settings], { stdio: 'ignore' });
  }
  function connect(): Promise<RedisClient> {
    return eventually(
      () => openClient({ url, name: 'own', connectTimeoutMs: 1_000 }).catch(() => undefined),
      (opened) => opened !== undefined,
      'the server listening',
    ) as Promise<RedisClient>;
  }
  async function kill(): Promise<void> {
    client.end();
    const ended = new Promise<void>((resolve) => process_.once('close', () => resolve()));
    process_.kill('SIGKILL');
    await ended;
  }

  return {
    url,
    raw: (...args) => client.send(args),
    async restart() {
      await kill();
      process_ = run();
      client = await connect();
    },
    halt: () => void process_.kill('SIGSTOP'),
    goOn: () => void process_.kill('SIGCONT'),
    async destroy() {
      await kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}
