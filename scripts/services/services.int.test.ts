// The commands themselves, with real servers where they are installed, in a folder and on ports of their own. What is not installed is named
// as not run: a test installs nothing.

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server as Listener } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createClient } from 'redis';
import { afterEach, beforeEach, describe, expect, it, type TestContext } from 'vitest';
import { host, portOf } from './ports.ts';
import { ask, identityOf, isAlive, isTaken, start, stop } from './processes.ts';
import { findPrograms } from './programs.ts';
import { keptFirstPort, remember, startedIn } from './records.ts';
import type { Layout, Server, ServerName } from './server.ts';
import { serversByName } from './servers.ts';
import { bringUp } from './up.ts';

const program = fileURLToPath(new URL('main.ts', import.meta.url));
let folder = '';
let firstPort = 0;
const children: ChildProcess[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'doorbuster-services-'));
  firstPort = await freePorts();
});
afterEach(async () => {
  await services('down');
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** A thousand beside those of a `services:up` that may run, where the ports of these tests are free. */
async function freePorts(): Promise<number> {
  for (let step = 0; step < 10; step += 1) {
    const first = 22_000 + ((process.pid + step) % 10) * 1_000;
    const wanted = [portOf({ firstPort: first }, 'redis'), portOf({ firstPort: first }, 'postgres')];
    if (!(await Promise.all(wanted.map(isTaken))).includes(true)) return first;
  }
  throw new Error('no free ports from 22000 to 31999');
}

interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function services(...args: string[]): Promise<Ran> {
  return inFolder(`--first-port=${firstPort}`, ...args);
}

/** Without the port, as somebody who has given it once. */
function inFolder(...args: string[]): Promise<Ran> {
  const child = spawn(process.execPath, [program, '--folder', folder, ...args]);
  const said = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => void (said.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => void (said.stderr += chunk.toString()));
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, ...said })));
}

interface State {
  readonly urls: Record<string, string>;
  readonly processes: readonly { name: string; pid: number; isRunning: boolean }[];
}
const stateOf = (ran: Ran): State => JSON.parse(ran.stdout.trimEnd().split('\n').at(-1)!) as State;

function needs(test: TestContext, name: ServerName): void {
  const found = findPrograms(serversByName[name].programs);
  test.skip('missing' in found, `${name} is not installed here; "npm run services:up" as root installs it`);
}

/** A process to be the stand-in for others: it lives until it is killed. */
async function bystander(source = 'setInterval(() => {}, 1000)'): Promise<{ pid: number; identity: string }> {
  const child = spawn(process.execPath, ['-e', `${source}; console.log('up')`]);
  children.push(child);
  await new Promise((resolve) => child.stdout.once('data', resolve));
  return { pid: child.pid!, identity: identityOf(child.pid!)! };
}

describe('services:up and services:down', () => {
  it('start Redis, leave it alone when it runs, bring it back with its data, and end it', async (test) => {
    needs(test, 'redis');
    const first = await services('up', 'redis', '--json');
    expect(first).toMatchObject({ code: 0, stderr: expect.stringMatching(/^redis +ready after/m) });
    const [one] = stateOf(first).processes;
    const url = `redis://${host}:${portOf({ firstPort }, 'redis')}`;
    expect(stateOf(first).urls).toEqual({ REDIS_URL: url });
    expect(readFileSync(join(folder, 'env'), 'utf8')).toBe(`REDIS_URL=${url}\n`);

    const client = createClient({ url });
    await client.connect();
    await client.set('kept', 'yes');
    await client.close();

    const again = await services('up', 'redis', '--json');
    expect(again.stderr).toMatch(/runs already/);
    expect(again.stderr).not.toMatch(/and not on/);
    expect(stateOf(again).processes).toEqual([one]);
    const elsewhere = { firstPort: firstPort + 100 };
    const asked = await services('up', 'redis', '--json', `--first-port=${elsewhere.firstPort}`);
    const ports = `on port ${portOf({ firstPort }, 'redis')} and not on ${portOf(elsewhere, 'redis')}`;
    expect(asked.stderr).toMatch(new RegExp(`^redis +runs already, ${ports}: .*--folder`, 'm'));
    expect(stateOf(asked).processes).toEqual([one]);

    await stop({ pid: one!.pid, identity: identityOf(one!.pid)! }, 'SIGTERM');
    expect(stateOf(await services('status', '--json')).processes).toEqual([{ ...one, isRunning: false }]);
    // The folder knows its ports.
    expect((await inFolder('up', 'redis')).stdout).toBe(`REDIS_URL=${url}\n`);
    const second = createClient({ url });
    await second.connect();
    expect(await second.get('kept')).toBe('yes');
    await second.close();

    const down = await services('down');
    expect(down).toMatchObject({ code: 0, stderr: expect.stringMatching(/^redis +stopped/) });
    expect(await isTaken(portOf({ firstPort }, 'redis'))).toBe(false);
    expect(existsSync(join(folder, 'env'))).toBe(false);
    expect(readdirSync(join(folder, 'data'))).toEqual([]);
    expect(keptFirstPort(folder)).toBeUndefined();
    expect(await services('down')).toMatchObject({ code: 0, stderr: 'nothing was running\n' });
  });

  it('start PostgreSQL as its own user, and end it', async (test) => {
    needs(test, 'postgres');
    const up = await services('up', 'postgres', '--json');
    expect(up).toMatchObject({ code: 0 });
    const [plan] = serversByName.postgres.waves(
      { folder, firstPort, cluster: false, asRoot: false },
      { postgres: '', initdb: '' },
      false,
    );
    expect(await ask(plan![0]!.probe!)).toBe(true);
    expect(await services('down')).toMatchObject({ stderr: expect.stringMatching(/^postgres +stopped/) });
    expect(await ask(plan![0]!.probe!)).toBe(false);
  });

  it('say which port is taken, and start nothing on it', async (test) => {
    needs(test, 'redis');
    const port = portOf({ firstPort }, 'redis');
    const other = await listenOn(port);
    const up = await services('up', 'redis');
    await new Promise((resolve) => other.close(resolve));
    expect(up).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining(`port ${port} is taken`),
    });
    expect(stateOf(await services('status', '--json')).processes).toEqual([]);
  });

  it('leave a process alone that only has the pid of one they started', async () => {
    const other = await bystander();
    const record = { server: 'redis', stopSignal: 'SIGTERM', isAuxiliary: false, cluster: false } as const;
    remember(folder, {
      ...record,
      name: 'redis',
      pid: other.pid,
      identity: 'of another boot',
      ports: [],
      urls: {},
    });
    expect(await services('down')).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/^redis +was gone/),
    });
    expect(isAlive(other)).toBe(true);

    // The control: with the right identity it is ended.
    remember(folder, { ...record, ...other, name: 'redis', ports: [], urls: {} });
    expect(await services('down')).toMatchObject({ stderr: expect.stringMatching(/^redis +stopped/) });
    expect(isAlive(other)).toBe(false);
  });

  it('refuse what they do not know', async () => {
    expect(await services('up', 'oracle')).toMatchObject({ code: 2, stdout: '' });
    expect(await services('sideways')).toMatchObject({ code: 2, stdout: '' });
    expect(await services('up', 'redis', '--first-port=80')).toMatchObject({ code: 2 });
  });
});

describe('a server', () => {
  const layout = (): Layout => ({ folder, firstPort, cluster: false, asRoot: false });
  /** Under the name of a real one: a shell with this script. */
  const scripted = (script: string): Server => ({
    ...serversByName.redis,
    programs: { sh: [] },
    waves: (_, { sh }) => [
      [
        {
          name: 'redis',
          server: 'redis',
          program: sh!,
          args: ['-c', script],
          env: {},
          ports: [],
          stopSignal: 'SIGTERM',
          probe: { port: portOf({ firstPort }, 'redis'), send: Buffer.alloc(0), isReady: () => true },
        },
      ],
    ],
  });

  it('that ends by itself is told with the end of its log, and leaves nothing behind', async () => {
    const told: string[] = [];
    const [outcome] = await bringUp([scripted('echo no room for me; exit 1')], layout(), (line) =>
      told.push(line),
    );
    expect(outcome).toMatchObject({
      state: 'failed',
      reason: expect.stringMatching(/^redis: .*(ended by itself|ended at once)/),
    });
    expect(told.at(-1)).toBe(outcome?.state === 'failed' && outcome.reason);
    expect(readFileSync(join(folder, 'redis.log'), 'utf8')).toBe('no room for me\n');
    expect(readdirSync(join(folder, 'data'))).toEqual([]);
    expect(startedIn(folder)).toEqual([]);
  });

  it('that is not installed is named with its package, and does not hold up the others', async () => {
    const gone: Server = { ...serversByName.rabbitmq, programs: { 'no-such-server': [] } };
    const outcomes = await bringUp([gone, scripted('exit 1')], layout(), () => {});
    expect(outcomes).toMatchObject([
      { state: 'missing', reason: expect.stringContaining('apt-get install rabbitmq-server') },
      { state: 'failed' },
    ]);
  });

  it('that runs as one node is not taken for a cluster', async () => {
    const other = await bystander();
    remember(folder, {
      ...other,
      name: 'rabbitmq',
      server: 'rabbitmq',
      stopSignal: 'SIGTERM',
      ports: [],
      isAuxiliary: false,
      cluster: false,
      urls: {},
    });
    const one: Server = { ...serversByName.rabbitmq, programs: {} };
    expect(await bringUp([one], { ...layout(), cluster: true }, () => {})).toMatchObject([
      { state: 'failed', reason: expect.stringContaining('runs as a single node; services:down first') },
    ]);
    expect(isAlive(other)).toBe(true);
  });
});

describe('a process', () => {
  it('that does not obey is killed', async () => {
    const stubborn = await bystander("process.on('SIGTERM', () => {}); setInterval(() => {}, 1000)");
    expect(await stop(stubborn, 'SIGTERM', 0)).toBe('killed');
    expect(isAlive(stubborn)).toBe(false);
  });

  it('that cannot be started says so', async () => {
    const options = { env: {}, log: join(folder, 'none.log') };
    await expect(start('/nowhere/no-such-server', [], options)).rejects.toThrow(/ENOENT/);
  });
});

function listenOn(port: number): Promise<Listener> {
  const server = createServer();
  return new Promise((resolve) => server.listen({ host, port }, () => resolve(server)));
}
