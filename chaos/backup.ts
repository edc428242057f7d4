/**
 * A backup beside the running server, killed in its middle: what it leaves is never taken for a backup, the server does not notice, and the next one is whole.
 * All of it through the command line.
 */
import { existsSync } from 'node:fs';
import type { Installation } from '../packages/server/src/acceptance/testing/installation.ts';
import { commandLine, startProcess } from '../packages/server/src/acceptance/testing/process.ts';
import type { FailpointName } from './failpoints.ts';
import { processWith, type StartOptions } from './server-start.ts';

interface BackupReport {
  readonly struck: boolean;
  readonly faults: readonly string[];
}

interface Ended {
  readonly code: number | string;
  readonly json: Record<string, unknown> | null;
  readonly stderr: string;
}

export async function checkBackup(
  { shop, options }: { readonly shop: Installation; readonly options: StartOptions },
  name: string,
  failpoint: FailpointName,
): Promise<BackupReport> {
  const run = async (args: readonly string[], armed: FailpointName | null): Promise<Ended> => {
    const failing = armed === null ? null : { name: armed, nth: 1, armFile: null };
    const command = startProcess(commandLine, [...args, '--json'], processWith(options, failing));
    const line = command.next().catch(() => null);
    const code = await command.ended;
    return { code, json: await line, stderr: command.stderr() };
  };
  const backup = (to: string, armed: FailpointName | null): Promise<Ended> =>
    run(['backup', '--to', to, '--with-secrets', '--data', shop.dataDir], armed);
  const restore = (from: string, to: string): Promise<Ended> =>
    run(['restore', '--from', from, '--data', to], null);
  const faults: string[] = [];

  const half = shop.path(`half-${name}`);
  const first = await backup(half, failpoint);
  const struck = first.code === 'SIGKILL';
  if (!struck) faults.push(`a backup was to be killed and ended with ${first.code}: ${first.stderr}`);
  const refused = await restore(half, shop.path(`never-${name}`));
  if (refused.code !== 2 || existsSync(shop.path(`never-${name}`)))
    faults.push(`half a backup was taken for one: restore ended with ${refused.code}`);

  const whole = shop.path(`whole-${name}`);
  const again = await backup(whole, null);
  const restored = shop.path(`restored-${name}`);
  const back = again.code === 0 ? await restore(whole, restored) : again;
  const checked = back.code === 0 ? await run(['verify', '--data', restored], null) : back;
  if (checked.code !== 0 || checked.json?.['ok'] !== true)
    faults.push(`a whole backup does not come back: ${checked.code} ${checked.stderr}`);
  return { struck, faults };
}
