/** Brokers of a test's own, for what must not be done to those that others use: a kill under load. Started by `services:up` in a folder of its own. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { standsStill } from '../../conformance/child-process.ts';
import { eventually } from '../../conformance/fixture.ts';

export interface OwnCluster {
  /** All brokers, joined by commas. */
  readonly url: string;
  /** SIGKILL to one of them; the others go on. */
  kill(node: number): void;
  /** SIGSTOP to all others: their connections stay, and only this one answers, until `thaw`. Resolves when that is so. */
  freezeAllBut(node: number): Promise<void>;
  thaw(): void;
  destroy(): Promise<void>;
}

export interface OwnBroker {
  readonly url: string;
  /** SIGKILL, and a new process on what it left; resolves when it serves again. */
  restart(): Promise<void>;
  /** SIGSTOP: its connections stay, and it answers nothing, until `thaw`. Resolves when that is so. */
  freeze(): Promise<void>;
  thaw(): void;
  destroy(): Promise<void>;
}

interface State {
  readonly urls: { readonly KAFKA_URL: string; readonly KAFKA_CLUSTER_URLS?: string };
  readonly processes: readonly {
    readonly name: string;
    readonly pid: number;
    readonly ports: readonly number[];
  }[];
}

const services = fileURLToPath(new URL('../../../../../scripts/services/main.ts', import.meta.url));

/** Where `services:up` has put Kafka's jars, the newest there are; undefined when it has not. */
export function jarsFolder(): string | undefined {
  const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'doorbuster');
  const found = existsSync(cache)
    ? readdirSync(cache).filter((name) => /^kafka-server-[\d.]+$/.test(name))
    : [];
  const newest = found.toSorted().at(-1);
  return newest === undefined ? undefined : join(cache, newest);
}

export function hasKafkaProgram(): boolean {
  return jarsFolder() !== undefined && spawnSync('java', ['-version']).status === 0;
}

export async function startOwnCluster(firstPort: number): Promise<OwnCluster> {
  const { state, destroy } = await start(firstPort, '--cluster');
  const { urls, processes } = state;
  const signal = (node: number, name: NodeJS.Signals): void =>
    void process.kill(processCalled(`kafka-${node}`, processes).pid, name);
  const frozen = new Set<number>();
  const thaw = (): void => {
    for (const node of frozen) signal(node, 'SIGCONT');
    frozen.clear();
  };
  return {
    url: urls.KAFKA_CLUSTER_URLS ?? urls.KAFKA_URL,
    kill: (node) => signal(node, 'SIGKILL'),
    async freezeAllBut(awake) {
      const others = [1, 2, 3].filter((one) => one !== awake);
      for (const node of others) {
        signal(node, 'SIGSTOP');
        frozen.add(node);
      }
      for (const node of others) await standsStill(processCalled(`kafka-${node}`, processes).pid);
    },
    thaw,
    async destroy() {
      // One that stands still does not hear that it is to end.
      thaw();
      await destroy();
    },
  };
}

/** One broker, so nobody answers while it is down. */
export async function startOwnBroker(firstPort: number): Promise<OwnBroker> {
  const { place, state, destroy } = await start(firstPort);
  let { processes } = state;
  const signal = (name: NodeJS.Signals): void =>
    void process.kill(processCalled('kafka', processes).pid, name);
  let isFrozen = false;
  const thaw = (): void => {
    if (isFrozen) signal('SIGCONT');
    isFrozen = false;
  };
  return {
    async freeze() {
      isFrozen = true;
      signal('SIGSTOP');
      await standsStill(processCalled('kafka', processes).pid);
    },
    thaw,
    url: state.urls.KAFKA_URL,
    async restart() {
      const { pid, ports } = processCalled('kafka', processes);
      process.kill(pid, 'SIGKILL');
      // Its threads may end after it, and hold its ports as long.
      await eventually(
        async () => (await Promise.all(ports.map(isTaken))).includes(true),
        (taken) => !taken,
        'the end of the broker',
      );
      ({ processes } = await ask<State>('up', ...place, 'kafka'));
    },
    async destroy() {
      // One that stands still does not hear that it is to end.
      thaw();
      await destroy();
    },
  };
}

interface Started {
  readonly place: readonly string[];
  readonly state: State;
  readonly destroy: () => Promise<void>;
}

async function start(firstPort: number, ...more: readonly string[]): Promise<Started> {
  const folder = mkdtempSync(join(tmpdir(), 'kafka-'));
  const place = ['--folder', folder, '--first-port', String(firstPort), '--json', ...more];
  const destroy = async (): Promise<void> => {
    await ask('down', '--folder', folder, '--json');
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    return { place, state: await ask<State>('up', ...place, 'kafka'), destroy };
  } catch (error) {
    await destroy();
    throw error;
  }
}

function processCalled(name: string, processes: State['processes']): State['processes'][number] {
  const found = processes.find((one) => one.name === name);
  if (!found) throw new Error(`${name} was not started`);
  return found;
}

function isTaken(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(true));
    probe.listen({ host: '127.0.0.1', port }, () => probe.close(() => resolve(false)));
  });
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
