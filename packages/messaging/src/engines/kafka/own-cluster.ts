/** Brokers of a test's own, for what must not be done to those that others use: a kill under load. Started by `services:up` in a folder of its own. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface OwnCluster {
  /** All brokers, joined by commas. */
  readonly url: string;
  /** SIGKILL to one of them; the others go on. */
  kill(node: number): void;
  destroy(): Promise<void>;
}

interface State {
  readonly urls: { readonly KAFKA_URL: string; readonly KAFKA_CLUSTER_URLS?: string };
  readonly processes: readonly { readonly name: string; readonly pid: number }[];
}

const services = fileURLToPath(new URL('../../../../../scripts/services/main.ts', import.meta.url));

/** Java, and Kafka's jars as `services:up` has brought them before. */
export function hasKafkaProgram(): boolean {
  const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'doorbuster');
  const hasJars = existsSync(cache) && readdirSync(cache).some((name) => /^kafka-server-[\d.]+$/.test(name));
  return hasJars && spawnSync('java', ['-version']).status === 0;
}

export async function startOwnCluster(firstPort: number): Promise<OwnCluster> {
  const folder = mkdtempSync(join(tmpdir(), 'kafka-'));
  const place = ['--folder', folder, '--first-port', String(firstPort), '--json'];
  const { urls, processes } = await ask<State>('up', ...place, '--cluster', 'kafka');
  return {
    url: urls.KAFKA_CLUSTER_URLS ?? urls.KAFKA_URL,
    kill(node) {
      const { pid } = processes.find(({ name }) => name === `kafka-${node}`) as { pid: number };
      process.kill(pid, 'SIGKILL');
    },
    async destroy() {
      await ask('down', '--folder', folder, '--json');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function ask<T>(...args: readonly string[]): Promise<T> {
  const child = spawn(process.execPath, [services, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let trouble = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    trouble += chunk.toString();
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  if (code !== 0) throw new Error(`services ${args.join(' ')}: ${code}\n${trouble}`);
  return JSON.parse(output.trim().split('\n').at(-1) ?? '') as T;
}
