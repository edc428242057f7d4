/**
 * For tests: a RabbitMQ of a test's own, one node or three, for what must not be done to one that others use: kills, alarms, settings. The repository's
 * `services:up` starts it in a folder of its own, and leaves there what was started.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { eventually } from '../../conformance/fixture.ts';

/** Where the package of Debian has them; the one on PATH insists on changing the user. */
const SERVER = '/usr/lib/rabbitmq/bin/rabbitmq-server';
/** Comes with Erlang, and answers in milliseconds; `rabbitmqctl` calls the same functions and takes seconds of processor to begin. */
const CALL = '/usr/bin/erl_call';
const REPOSITORY = fileURLToPath(new URL('../../../../../', import.meta.url));
const run = promisify(execFile);

export const hasRabbitProgram = (): boolean => existsSync(SERVER) && existsSync(CALL);

export interface OwnBroker {
  /** One for each node. */
  readonly urls: readonly string[];
  /** Erlang, with a full stop, on the first node that was not killed; the result as Erlang writes it. */
  evaluate(expression: string): Promise<string>;
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
/** No two of the distances below lie apart by a multiple of it that is less than all places. */
const APART = 13;
const PLACES = 20;
/** Distances from the first port, as `services:up` has them: the name server, then the nodes. */
const DISTANCES = [369, 672, 673, 674, 692, 693, 694];

/**
 * A server that is killed within half a second of the declaration of a quorum queue may forget which log is its own (3.10 writes that down at its leisure), and with
 * it what it has confirmed: the queue is there, empty, and never has a leader. So it is made to write it down.
 */
const WRITE_DOWN = '[] = [Table || Table <- dets:all(), dets:sync(Table) =/= ok].';

/** Kills a broker of one node, and starts it on what it left. */
export async function restart(broker: OwnBroker): Promise<void> {
  await broker.evaluate(WRITE_DOWN);
  await broker.kill(1);
  await broker.start();
}

/** What `rabbitmqctl close_all_connections` does. */
export async function closeAllConnections(broker: OwnBroker): Promise<void> {
  const all = 'rabbit_networking:connections()';
  await broker.evaluate(`rabbit_networking:close_connections(${all}, <<"a test of the operator">>).`);
}

/** What `rabbitmqctl set_vm_memory_high_watermark` does: with 1 byte there is an alarm. */
export async function setAlarm(broker: OwnBroker, isOn: boolean): Promise<void> {
  await broker.evaluate(`vm_memory_monitor:set_vm_memory_high_watermark(${isOn ? '{absolute, 1}' : '0.6'}).`);
}

/** `consumer_timeout` of channels that are opened from now on, and how often each of them looks at its time. */
export async function setConsumerTimeout(
  broker: OwnBroker,
  { limitMs, tickMs }: { readonly limitMs: number; readonly tickMs: number },
): Promise<void> {
  await broker.evaluate(`application:set_env(rabbit, consumer_timeout, ${limitMs}).`);
  await broker.evaluate(`application:set_env(rabbit, channel_tick_interval, ${tickMs}).`);
}

export async function startOwnBroker({ cluster }: { readonly cluster: boolean }): Promise<OwnBroker> {
  const folder = mkdtempSync(join(tmpdir(), 'rabbitmq-'));
  const { first, guard } = await takePlace();
  const services = async (verb: 'up' | 'down', ...args: readonly string[]): Promise<string> => {
    const script = join(REPOSITORY, 'scripts/run.mjs');
    const { stdout } = await run(process.execPath, [script, 'services', verb, '--folder', folder, ...args]);
    return stdout;
  };
  const start = async (): Promise<string> =>
    services('up', ...(cluster ? ['--cluster'] : []), '--first-port', String(first), 'rabbitmq');
  const processOf = (node: number): StartedProcess | undefined =>
    startedIn(folder).find(({ name }) => name === (cluster ? `rabbitmq-${node}` : 'rabbitmq'));
  const killed = new Set<number>();
  const alive = (): readonly StartedProcess[] =>
    [1, 2, 3].flatMap((node) => (killed.has(node) ? [] : (processOf(node) ?? [])));
  const destroy = async (): Promise<void> => {
    // Nobody needs what they would write down at an end in order, which takes them seconds.
    for (const { pid } of alive())
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    await services('down', 'rabbitmq');
    guard.close();
    rmSync(folder, { recursive: true, force: true });
  };
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
    async evaluate(expression) {
      const [, distribution] = alive()[0]?.ports ?? [];
      const cookie = readFileSync(join(folder, 'data/rabbitmq-home/.erlang.cookie'), 'utf8');
      const place = ['-address', `127.0.0.1:${distribution}`, '-c', cookie, '-r', '-timeout', '60'];
      const calling = run(CALL, [...place, '-e']);
      calling.child.stdin?.end(`${expression}\n`);
      const { stdout } = await calling;
      const result = /^\{ok, ?(.*)\}\s*$/s.exec(stdout)?.[1];
      if (result === undefined) throw new Error(`${expression} gives ${stdout}`);
      return result;
    },
    async kill(node) {
      const { pid, ports } = processOf(node) ?? {};
      if (!pid || !ports) throw new Error(`node ${node} was not started`);
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
      if (killed.size > 0) await start();
      killed.clear();
    },
    destroy,
  };
}

function startedIn(folder: string): readonly StartedProcess[] {
  const records = join(folder, 'pids');
  if (!existsSync(records)) return [];
  return readdirSync(records).map(
    (file) => JSON.parse(readFileSync(join(records, file), 'utf8')) as StartedProcess,
  );
}

/** Listens on the first port itself, which no server uses: another process that looks for a place before our servers are up goes on to the next. */
async function takePlace(): Promise<{ readonly first: number; readonly guard: Server }> {
  for (let place = 0; place < PLACES; place += 1) {
    const first = FIRST_PORT + place * APART;
    const guard = await listen(first);
    if (!guard) continue;
    const taken = await Promise.all(DISTANCES.map((distance) => isTaken(first + distance)));
    if (!taken.includes(true)) return { first, guard };
    guard.close();
  }
  throw new Error('no free ports for a broker of its own');
}

async function isTaken(port: number): Promise<boolean> {
  const server = await listen(port);
  if (server) await new Promise((resolve) => server.close(resolve));
  return server === undefined;
}

function listen(port: number): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen({ host: '127.0.0.1', port }, () => resolve(server));
  });
}
