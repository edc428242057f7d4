/**
 * For tests: a RabbitMQ of a test's own, one node or three, for what must not be done to one that others use: kills, alarms, settings. The repository's
 * `services:up` starts it in a folder of its own, and leaves there what was started.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { eventually } from '../../conformance/fixture.ts';

/** Where the package of Debian has them; the ones on PATH insist on changing the user. */
const PROGRAMS = '/usr/lib/rabbitmq/bin';
const REPOSITORY = fileURLToPath(new URL('../../../../../', import.meta.url));
const run = promisify(execFile);

export const hasRabbitProgram = (): boolean => existsSync(join(PROGRAMS, 'rabbitmq-server'));

export interface OwnBroker {
  /** One for each node. */
  readonly urls: readonly string[];
  /** What `rabbitmqctl` says on the first node that was not killed. */
  ctl(...args: readonly string[]): Promise<string>;
  /** SIGKILL of a node, from 1. */
  kill(node: number): Promise<void>;
  /** Starts what is down, on the data it left. */
  start(): Promise<void>;
  destroy(): Promise<void>;
}

interface StartedProcess {
  readonly name: string;
  readonly pid: number;
  readonly ports: readonly number[];
}

const FIRST_PORT = 24_000;
/** Two brokers side by side need nine ports each, which lie apart by less. */
const APART = 10;
const PLACES = 20;
/** Distances from the first port, as `services:up` has them: the name server, then the nodes. */
const DISTANCES = [369, 672, 673, 674, 692, 693, 694];

/**
 * A server that is killed within half a second of the declaration of a quorum queue may forget which log is its own (3.10 writes that down at its leisure), and with
 * it what it has confirmed: the queue is there, empty, and never has a leader. So it is made to write it down.
 */
const WRITE_DOWN = '[dets:sync(Table) || Table <- dets:all()].';

/** Kills a broker of one node, and starts it on what it left. */
export async function restart(broker: OwnBroker): Promise<void> {
  await broker.ctl('eval', WRITE_DOWN);
  await broker.kill(1);
  await broker.start();
}

export async function startOwnBroker({ cluster }: { readonly cluster: boolean }): Promise<OwnBroker> {
  const folder = mkdtempSync(join(tmpdir(), 'rabbitmq-'));
  const firstPort = await freeFirstPort();
  const services = async (verb: 'up' | 'down', ...args: readonly string[]): Promise<string> => {
    const script = join(REPOSITORY, 'scripts/run.mjs');
    const { stdout } = await run(process.execPath, [script, 'services', verb, '--folder', folder, ...args]);
    return stdout;
  };
  const start = async (): Promise<string> =>
    services('up', ...(cluster ? ['--cluster'] : []), '--first-port', String(firstPort), 'rabbitmq');
  const destroy = async (): Promise<void> => {
    await services('down', 'rabbitmq');
    rmSync(folder, { recursive: true, force: true });
  };
  const process_ = (name: string): StartedProcess => {
    const found = startedIn(folder).find((one) => one.name === name);
    if (!found) throw new Error(`${name} was not started`);
    return found;
  };
  const killed = new Set<number>();
  let addresses: string;
  try {
    addresses = await start();
  } catch (error) {
    await destroy();
    throw error;
  }
  const urls = /^RABBITMQ_CLUSTER_URLS=(.*)$/m.exec(addresses) ?? /^RABBITMQ_URL=(.*)$/m.exec(addresses);
  return {
    urls: urls?.[1]?.split(',') ?? [],
    async ctl(...args) {
      const node = [1, 2, 3].find((one) => !killed.has(one));
      const { stdout } = await run(
        join(PROGRAMS, 'rabbitmqctl'),
        ['-n', `doorbuster${node}@localhost`, '-q', ...args],
        {
          env: {
            PATH: process.env['PATH'],
            HOME: join(folder, 'data/rabbitmq-home'),
            ERL_EPMD_PORT: String(process_('epmd').ports[0]),
            ERL_EPMD_ADDRESS: '127.0.0.1',
            RABBITMQ_CONF_ENV_FILE: '/dev/null',
            RABBITMQ_CTL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
          },
        },
      );
      return stdout;
    },
    async kill(node) {
      const { pid, ports } = process_(cluster ? `rabbitmq-${node}` : 'rabbitmq');
      process.kill(pid, 'SIGKILL');
      killed.add(node);
      // Its threads may end after it, and hold its ports as long.
      await eventually(
        async () => (await Promise.all(ports.map(isTaken))).includes(true),
        (taken) => !taken,
        `the end of node ${node}`,
      );
    },
    async start() {
      await start();
      killed.clear();
    },
    destroy,
  };
}

function startedIn(folder: string): readonly StartedProcess[] {
  const records = join(folder, 'pids');
  return readdirSync(records).map(
    (file) => JSON.parse(readFileSync(join(records, file), 'utf8')) as StartedProcess,
  );
}

async function freeFirstPort(): Promise<number> {
  for (let place = 0; place < PLACES; place += 1) {
    const first = FIRST_PORT + place * APART;
    const taken = await Promise.all(DISTANCES.map((distance) => isTaken(first + distance)));
    if (!taken.includes(true)) return first;
  }
  throw new Error('no free ports for a broker of its own');
}

function isTaken(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(true));
    server.listen({ host: '127.0.0.1', port }, () => server.close(() => resolve(false)));
  });
}
