// Ends exactly what `services:up` started, all at once, and clears its data away: these servers are for tests, and the next start is from
// nothing. Logs stay for whoever wants to know what happened.

import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Ending, stop } from './processes.ts';
import { forget, forgetFirstPort, type StartedProcess, startedIn, writeEnv } from './records.ts';
import type { ServerName } from './server.ts';

export interface Ended {
  readonly name: string;
  readonly pid: number;
  readonly ending: Ending;
}

export async function bringDown(
  folder: string,
  servers: readonly ServerName[],
  options: { readonly keepData: boolean },
): Promise<Ended[]> {
  const ended = await endAll(
    folder,
    startedIn(folder).filter(({ server }) => servers.includes(server)),
  );
  if (!options.keepData) clearData(folder, servers);
  const data = join(folder, 'data');
  if (!existsSync(data) || readdirSync(data).length === 0) forgetFirstPort(folder);
  writeEnv(folder);
  return ended;
}

/** At once, but what others need comes last. */
export async function endAll(folder: string, records: readonly StartedProcess[]): Promise<Ended[]> {
  const end = async (record: StartedProcess): Promise<Ended> => {
    const ending = await stop(record, record.stopSignal);
    forget(folder, record.name);
    return { name: record.name, pid: record.pid, ending };
  };
  const ended = await Promise.all(records.filter(({ isAuxiliary }) => !isAuxiliary).map(end));
  return [...ended, ...(await Promise.all(records.filter(({ isAuxiliary }) => isAuxiliary).map(end)))];
}

export function clearData(folder: string, servers: readonly ServerName[]): void {
  for (const name of servers.flatMap((server) => dataFolders[server]))
    rmSync(join(folder, 'data', name), { recursive: true, force: true });
}

/** The folders that the plans name, alone and as a cluster: whatever else somebody keeps there is not ours. */
export const dataFolders: Readonly<Record<ServerName, readonly string[]>> = {
  postgres: ['postgres'],
  mariadb: ['mariadb'],
  redis: ['redis'],
  rabbitmq: ['rabbitmq', 'rabbitmq-1', 'rabbitmq-2', 'rabbitmq-3', 'rabbitmq-home', 'epmd'],
  kafka: ['kafka', 'kafka-1', 'kafka-2', 'kafka-3'],
  zookeeper: ['zookeeper'],
};
