/**
 * `npm run services:up [-- [--cluster] [--json] [--folder DIR] [--first-port N] [NAME...]]`, `services:down` and `services:status`: real
 * servers on loopback for the tests that need them. Data on stdout (the addresses, one per line, or with --json one object as the last
 * line), everything for people on stderr.
 *
 * Exit codes: 0 all that was asked for runs (or has ended), 1 a server did not start, 2 usage, 3 a server is not installed.
 */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { bringDown } from './down.ts';
import { firstPortByDefault } from './ports.ts';
import { isAlive } from './processes.ts';
import { envPath, envText, keptFirstPort, startedIn, urlsOf, writeEnv } from './records.ts';
import { serversByName } from './servers.ts';
import { isServerName, type Layout, type ServerName, serverNames } from './server.ts';
import { bringUp } from './up.ts';

const usage = `npm run services:up [-- [--cluster] [--folder DIR] [--first-port N] [--json] [${serverNames.join('|')}]...]
       npm run services:down [-- [--keep-data] [--folder DIR] [--json] [NAME]...]
       npm run services:status [-- [--folder DIR] [--json]]`;

const help = `${usage}

Real servers on loopback for the tests that need them; without a name all of them. Their addresses go to stdout and, as variables
(DATABASE_URL, REDIS_URL, RABBITMQ_URL...), to the file "env" of the folder: set -a; . .cache/services/env; set +a

  --folder DIR     where their data, logs and addresses are kept, and what "down" and "status" look at (.cache/services of this checkout);
                   another one is another set of servers beside the first
  --first-port N   each server listens on a fixed place counted from N (${firstPortByDefault}); give a second set another one, 1024 to 64000,
                   and a --folder of its own. The folder keeps N for what is started in it later, until "down" has cleared the last
                   of its data; what runs keeps its ports
  --cluster        three nodes where a server has them
  --keep-data      services:down leaves the data for the next start
  --json           one object instead of lines`;

/** Of this checkout; git does not see it. */
const defaultFolder = fileURLToPath(new URL('../../.cache/services', import.meta.url));

interface Asked {
  readonly verb: 'up' | 'down' | 'status';
  readonly layout: Layout;
  readonly names: readonly ServerName[];
  readonly keepData: boolean;
  readonly json: boolean;
}

const tell = (line: string): void => void process.stderr.write(`${line}\n`);
const print = (line: string): void => void process.stdout.write(line);

export async function main(argv: readonly string[]): Promise<number> {
  if (argv.includes('--help')) {
    print(`${help}\n`);
    return 0;
  }
  const asked = read(argv);
  if (asked === null) return 2;
  const run = { up, down, status }[asked.verb];
  return run(asked);
}

async function up({ layout, names, json }: Asked): Promise<number> {
  const outcomes = await bringUp(
    names.map((name) => serversByName[name]),
    layout,
    tell,
  );
  const urls = writeEnv(layout.folder);
  const failed = outcomes.flatMap((outcome) =>
    outcome.state === 'ready'
      ? []
      : [{ server: outcome.server.name, state: outcome.state, reason: outcome.reason }],
  );
  if (json) print(`${JSON.stringify({ ...state(layout.folder), failed })}\n`);
  else print(envText(urls));
  if (failed.some(({ state: how }) => how === 'failed')) return 1;
  return failed.length > 0 ? 3 : 0;
}

async function down({ layout, names, keepData, json }: Asked): Promise<number> {
  const ended = await bringDown(layout.folder, names, { keepData });
  for (const { name, pid, ending } of ended) tell(`${name.padEnd(10)} ${ending} (pid ${pid})`);
  if (ended.length === 0) tell('nothing was running');
  if (json) print(`${JSON.stringify({ folder: layout.folder, ended })}\n`);
  return 0;
}

async function status({ layout, json }: Asked): Promise<number> {
  const now = state(layout.folder);
  if (json) {
    print(`${JSON.stringify(now)}\n`);
    return 0;
  }
  for (const { name, pid, ports, isRunning } of now.processes)
    tell(`${name.padEnd(10)} ${isRunning ? 'runs' : 'gone'}  pid ${pid}  ports ${ports.join(', ')}`);
  if (now.processes.length === 0) tell('nothing was started');
  print(envText(now.urls));
  return 0;
}

/** What a program wants to know: where to find each server, and which process to kill in a test that kills one. */
function state(folder: string) {
  const records = startedIn(folder);
  return {
    folder,
    env: envPath(folder),
    urls: urlsOf(records),
    processes: records.map((record) => ({
      name: record.name,
      server: record.server,
      pid: record.pid,
      ports: record.ports,
      isRunning: isAlive(record),
    })),
  };
}

function read(argv: readonly string[]): Asked | null {
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        cluster: { type: 'boolean', default: false },
        folder: { type: 'string', default: defaultFolder },
        'first-port': { type: 'string' },
        'keep-data': { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
      },
    });
    const [verb, ...rest] = positionals;
    if (verb !== 'up' && verb !== 'down' && verb !== 'status') throw new Error('up, down or status');
    const unknown = rest.find((name) => !isServerName(name));
    if (unknown !== undefined) throw new Error(`no server "${unknown}": one of ${serverNames.join(', ')}`);
    const folder = resolve(values.folder);
    const firstPort = Number(values['first-port'] ?? keptFirstPort(folder) ?? firstPortByDefault);
    if (!Number.isSafeInteger(firstPort) || firstPort < 1024 || firstPort > 64_000)
      throw new Error('--first-port is a whole number from 1024 to 64000');
    const layout: Layout = {
      folder,
      firstPort,
      cluster: values.cluster,
      asRoot: process.getuid?.() === 0,
    };
    const names = rest.length > 0 ? rest.filter(isServerName) : serverNames;
    return { verb, layout, names, keepData: values['keep-data'], json: values.json };
  } catch (error) {
    tell(`${(error as Error).message}\nusage: ${usage}`);
    return null;
  }
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
