// The servers that a test run finds: those whose address is in the environment, those that `npm run services:up` started, and, for a run of all tests,
// those that are installed and not running: they are started for this run on ports of their own and ended with it. Nothing is installed here.
//
// Tests that kill or restart a server start one of their own; none of them touches what is provided here.

import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { bringDown } from './services/down.ts';
import { kafkaJars } from './services/kafka-jars.ts';
import { portOf } from './services/ports.ts';
import { isTaken } from './services/processes.ts';
import { findPrograms } from './services/programs.ts';
import { startedIn, urlsOf } from './services/records.ts';
import type { Layout, Server, ServerName } from './services/server.ts';
import { serversByName } from './services/servers.ts';
import { bringUp, type Tell } from './services/up.ts';

export interface ProvidedServers {
  /** Why a server is not there, a line each. */
  readonly missing: readonly string[];
  /** Ends what was started for this run, and nothing else. */
  stop(): Promise<void>;
}

/** Below the thousand of `services:up` and below the range of outgoing connections, so that sets do not meet. */
const firstPorts = [20_000, 19_000, 18_000, 17_000, 16_000, 15_000];

export interface Wanted {
  /** Also what is installed and does not run. */
  readonly start: boolean;
  /** Those that are asked for; all by default. */
  readonly names?: readonly ServerName[];
  readonly tell: Tell;
}

/** Sets the variables of what is there in this process's environment. */
export async function provideServers(root: string, { start, names, tell }: Wanted): Promise<ProvidedServers> {
  setVariables(urlsOf(startedIn(join(root, '.cache/services'))));
  const absent = Object.values(serversByName).filter(
    (server) => (names?.includes(server.name) ?? true) && !isSet(server),
  );
  const missing = absent
    .filter((server) => !start || !isInstalled(server))
    .map(
      ({ name }) => `${name} ${start ? 'is not installed' : 'does not run'}: its tests are named as not run`,
    );
  const startable = start ? absent.filter(isInstalled) : [];
  if (startable.length === 0) return { missing, stop: async () => {} };

  const folder = join(root, '.cache', `test-services-${process.pid}`);
  const layout: Layout = {
    folder,
    firstPort: await freeFirstPort(startable),
    cluster: false,
    asRoot: process.getuid?.() === 0,
  };
  const stop = async (): Promise<void> => {
    await bringDown(
      folder,
      startable.map(({ name }) => name),
      { keepData: false },
    );
    rmSync(folder, { recursive: true, force: true });
  };
  const outcomes = await bringUp(startable, layout, tell);
  setVariables(urlsOf(startedIn(folder)));
  const failed = outcomes.flatMap((outcome) => (outcome.state === 'ready' ? [] : [outcome.reason]));
  return { missing: [...missing, ...failed], stop };
}

function setVariables(urls: Readonly<Record<string, string>>): void {
  for (const [name, url] of Object.entries(urls)) process.env[name] ??= url;
}

/** Any layout: only the names of the variables are asked for. */
const isSet = (server: Server): boolean =>
  Object.keys(server.urls({ folder: '', firstPort: 20_000, cluster: false, asRoot: false })).every(
    (name) => process.env[name] !== undefined,
  );

function isInstalled(server: Server): boolean {
  if ('missing' in findPrograms(server.programs)) return false;
  return server.name !== 'kafka' || existsSync(kafkaJars);
}

async function freeFirstPort(servers: readonly Server[]): Promise<number> {
  for (const firstPort of firstPorts) {
    const taken = await Promise.all(servers.map(({ name }) => isTaken(portOf({ firstPort }, name))));
    if (!taken.includes(true)) return firstPort;
  }
  throw new Error('no ports are left for the servers of this run');
}
