// Installs what is missing from Debian's packages, where that is possible; elsewhere it says what to do, a sentence per server.

import { existsSync } from 'node:fs';
import { runToEnd } from './processes.ts';
import type { Server } from './server.ts';

/** Somebody else's apt may be at work. */
const waitForLock = ['-o', 'DPkg::Lock::Timeout=300'];

export const missingText = (server: Server, missing: readonly string[]): string =>
  `${server.name}: ${missing.join(', ')} not found. Install it (Debian: apt-get install ${server.packages.join(' ')}), run this as root on Debian, or use compose.yaml`;

export const canInstall = (asRoot: boolean): boolean => asRoot && existsSync('/usr/bin/apt-get');

/** @returns what apt said when it failed */
export async function install(names: readonly string[]): Promise<string | undefined> {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const run = (...args: string[]) => runToEnd('/usr/bin/apt-get', [...waitForLock, '-qq', ...args], { env });
  const updated = await run('update');
  if (!updated.ok) return updated.output;
  const installed = await run('install', '-y', '--no-install-recommends', ...names);
  return installed.ok ? undefined : installed.output;
}
