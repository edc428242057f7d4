// Brings servers up side by side: each waits only for itself, and one that fails does not take the others with it. What runs already is left
// as it is; of a cluster only the nodes that are gone are started, on the data they left.

import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { systemClock } from '@doorbuster/messaging';
import { clearData, endAll } from './down.ts';
import { bringKafkaJars, kafkaJars } from './kafka-jars.ts';
import { canInstall, install, missingText } from './packages.ts';
import {
  accountOf,
  type Account,
  awaitReady,
  isAlive,
  environment,
  isTaken,
  runToEnd,
  start,
} from './processes.ts';
import { findPrograms, type Programs } from './programs.ts';
import { keepFirstPort, remember, type StartedProcess, startedIn } from './records.ts';
import type { Layout, ProcessPlan, Server } from './server.ts';

/** The slowest, a RabbitMQ node on a busy machine, has been seen to take 20 s. */
const readyWithinMs = 120_000;
const shownOfLog = 15;

export type Tell = (line: string) => void;

export type Outcome =
  | { readonly server: Server; readonly state: 'ready' }
  | { readonly server: Server; readonly state: 'missing' | 'failed'; readonly reason: string };

export async function bringUp(servers: readonly Server[], layout: Layout, tell: Tell): Promise<Outcome[]> {
  mkdirSync(join(layout.folder, 'data'), { recursive: true });
  if (layout.asRoot)
    for (const folder of [layout.folder, join(layout.folder, 'data')]) chmodSync(folder, 0o755);
  await installMissing(servers, layout, tell);
  tell(`starting ${servers.map(({ name }) => name).join(', ')} in ${layout.folder}`);
  return Promise.all(servers.map((server) => bringUpOne(server, layout, tell)));
}

async function installMissing(servers: readonly Server[], layout: Layout, tell: Tell): Promise<void> {
  if (!canInstall(layout.asRoot)) return;
  const names = servers
    .filter((server) => 'missing' in findPrograms(server.programs))
    .flatMap(({ packages }) => packages);
  if (names.length === 0) return;
  tell(`installing ${names.join(', ')}`);
  const problem = await install(names);
  if (problem !== undefined) tell(problem);
}

async function bringUpOne(server: Server, layout: Layout, tell: Tell): Promise<Outcome> {
  const found = findPrograms(server.programs);
  if ('missing' in found) {
    const reason = missingText(server, found.missing);
    tell(reason);
    return { server, state: 'missing', reason };
  }
  const began = systemClock.monotonic();
  try {
    const { isNew, elsewhere } = await startAll(server, layout, found.programs, tell);
    const seconds = ((systemClock.monotonic() - began) / 1000).toFixed(1);
    tell(`${server.name.padEnd(8)} ${isNew ? `ready after ${seconds} s` : 'runs already'}${elsewhere}`);
    return { server, state: 'ready' };
  } catch (error) {
    const reason = `${server.name}: ${(error as Error).message}`;
    tell(reason);
    return { server, state: 'failed', reason };
  }
}

interface Started {
  readonly isNew: boolean;
  /** What is to be told of ports that were asked for and are not those of what runs already; else ''. */
  readonly elsewhere: string;
}

/** Throws when a process of it does not become ready, after ending what was started with it */
async function startAll(server: Server, layout: Layout, programs: Programs, tell: Tell): Promise<Started> {
  const { folder, cluster } = layout;
  const before = startedIn(folder).filter((record) => record.server === server.name && isAlive(record));
  refuseOtherForm(server, layout, before);
  if (server.name === 'kafka' && !existsSync(kafkaJars)) {
    tell(`bringing Kafka's jars into ${kafkaJars} (54 MB, once)`);
    await bringKafkaJars(programs['mvn']!);
  }

  const alive = new Set(before.map(({ name }) => name));
  const isMany = cluster && server.canCluster;
  const hasData = existsSync(join(folder, 'data', isMany ? `${server.name}-1` : server.name));
  const started: StartedProcess[] = [];
  let elsewhere = '';
  try {
    for (const wave of server.waves(layout, programs, hasData)) {
      elsewhere ||= elsewhereText(before, wave);
      const missing = wave.filter(({ name }) => !alive.has(name));
      const ends = await Promise.allSettled(missing.map((plan) => startOne(server, plan, layout, started)));
      for (const end of ends) if (end.status === 'rejected') throw end.reason;
    }
    if (isMany && server.joined) await awaitJoined(server.joined(layout, programs));
  } catch (error) {
    await endAll(folder, started);
    // Half of a first start would pass for data to go on with.
    if (!hasData && before.length === 0) clearData(folder, [server.name]);
    throw error;
  }
  return { isNew: started.length > 0, elsewhere };
}

/** What runs keeps its ports: --first-port counts for what is started, and a second set needs a folder of its own. */
function elsewhereText(running: readonly StartedProcess[], wave: readonly ProcessPlan[]): string {
  for (const { name, ports } of wave) {
    const known = running.find((record) => record.name === name);
    if (known && known.ports.join() !== ports.join())
      return `, on port ${known.ports.join(', ')} and not on ${ports.join(', ')}: for a second set beside it give --folder too`;
  }
  return '';
}

function refuseOtherForm(server: Server, { cluster }: Layout, running: readonly StartedProcess[]): void {
  if (!server.canCluster || running.every((record) => record.cluster === cluster)) return;
  const [now, asked] = cluster ? ['a single node', 'a cluster'] : ['a cluster', 'a single node'];
  throw new Error(`runs as ${now}; services:down first for ${asked}`);
}

async function awaitJoined({ program, args, env }: ReturnType<NonNullable<Server['joined']>>): Promise<void> {
  const { ok, output } = await runToEnd(program, args, { env: { ...environment(), ...env } });
  if (!ok) throw new Error(`the nodes did not find each other:\n${output}`);
}

async function startOne(
  server: Server,
  plan: ProcessPlan,
  layout: Layout,
  started: StartedProcess[],
): Promise<void> {
  for (const port of plan.ports)
    if (await isTaken(port))
      throw new Error(`port ${port} is taken by another program; choose others with --first-port`);
  const account = layout.asRoot && plan.user !== undefined ? accountFor(plan.user, layout) : undefined;
  const log = join(layout.folder, `${plan.name}.log`);
  await prepare(plan, layout, account, log);
  const known = await start(plan.program, plan.args, {
    env: { ...environment(), ...plan.env },
    log,
    account: plan.changesUserItself ? undefined : account,
  });
  const record: StartedProcess = {
    ...known,
    name: plan.name,
    server: plan.server,
    stopSignal: plan.stopSignal,
    ports: plan.ports,
    isAuxiliary: plan.isAuxiliary ?? false,
    cluster: layout.cluster,
    urls: server.urls(layout),
  };
  remember(layout.folder, record);
  keepFirstPort(layout.folder, layout.firstPort);
  started.push(record);
  const problem = plan.probe ? await awaitReady(known, plan.probe, readyWithinMs) : undefined;
  if (problem !== undefined) throw new Error(`${plan.name}: ${problem}; the end of ${log}:\n${endOf(log)}`);
}

function accountFor(user: string, layout: Layout): Account {
  const account = accountOf(user);
  if (account === undefined) throw new Error(`the user ${user} of the package does not exist`);
  for (let at = layout.folder; at !== dirname(at); at = dirname(at))
    if ((statSync(at).mode & 0o001) === 0)
      throw new Error(`${at} is closed to the user ${user}: choose another place with --folder`);
  return account;
}

async function prepare(
  plan: ProcessPlan,
  layout: Layout,
  account: Account | undefined,
  log: string,
): Promise<void> {
  const data = join(layout.folder, 'data', plan.name);
  mkdirSync(data, { recursive: true, mode: 0o700 });
  if (account) chownSync(data, account.uid, account.gid);
  for (const [path, text] of Object.entries(plan.files ?? {})) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text, { mode: 0o600 });
  }
  if (plan.preparation === undefined || existsSync(join(data, plan.preparation.mark))) return;
  for (const { program, args } of plan.preparation.steps) {
    const { ok, output } = await runToEnd(program, args, {
      env: { ...environment(), ...plan.env },
      account: plan.changesUserItself ? undefined : account,
    });
    writeFileSync(log, output, { flag: 'a' });
    if (!ok)
      throw new Error(
        `${plan.name}: ${program} failed:\n${output.split('\n').slice(-shownOfLog).join('\n')}`,
      );
  }
}

const endOf = (log: string): string =>
  readFileSync(log, 'utf8').trimEnd().split('\n').slice(-shownOfLog).join('\n');
