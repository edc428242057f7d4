// package-lock.json, with an entry for every optional package that its own entries name.
//
// npm leaves out the entry of an optional package that its registry did not have at the time, which mirrors do to the
// binaries of platforms they do not serve; and then `npm ci` refuses the lockfile as out of step, on every platform. The
// missing entries follow from what is there: the exact version is in the naming package, platform and processor are in
// the name. They have no hash, because nothing was downloaded; npm fills it in where it meets the package.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Generator } from './generated.ts';

type Locked = {
  version?: string;
  dev?: boolean;
  optional?: boolean;
  os?: string[];
  cpu?: string[];
  libc?: string[];
  optionalDependencies?: Record<string, string>;
};

export type Lockfile = { packages: Record<string, Locked> };

const exactVersion = /^\d+\.\d+\.\d+(-[\w.]+)?$/;
const systems = ['android', 'darwin', 'freebsd', 'linux', 'openharmony', 'win32'];
const processors = ['arm64', 'arm', 'ia32', 'ppc64', 'riscv64', 's390x', 'x64'];

/** `@oxlint/binding-linux-arm-musleabihf` is for Linux on arm with musl. */
function platformOf(name: string): { os: string[]; cpu: string[]; libc?: string[] } | undefined {
  const words = name.split(/[/-]/);
  const os = systems.find((system) => words.includes(system));
  const cpu = processors.find((processor) => words.includes(processor));
  if (!os || !cpu) return undefined;
  const libc = words.some((word) => word.startsWith('musl'))
    ? 'musl'
    : words.includes('gnu')
      ? 'glibc'
      : undefined;
  return { os: [os], cpu: [cpu], ...(libc && os === 'linux' ? { libc: [libc] } : {}) };
}

/** What the lockfile names as optional, exactly and for one platform, and has no entry for. */
export function missingEntries(lockfile: Lockfile): Record<string, Locked> {
  const missing: Record<string, Locked> = {};
  for (const owner of Object.values(lockfile.packages)) {
    for (const [name, version] of Object.entries(owner.optionalDependencies ?? {})) {
      const path = `node_modules/${name}`;
      const platform = platformOf(name);
      if (lockfile.packages[path] || !platform || !exactVersion.test(version)) continue;
      const { os, cpu, libc } = platform;
      const dev = owner.dev ? { dev: true } : {};
      missing[path] = { version, cpu, ...dev, ...(libc ? { libc } : {}), optional: true, os };
    }
  }
  return missing;
}

/** The lockfile with the missing entries, in npm's own order. */
export function completed(lockfile: Lockfile): Lockfile {
  const all = Object.entries({ ...lockfile.packages, ...missingEntries(lockfile) });
  all.sort(([one], [other]) => one.localeCompare(other, 'en'));
  return { ...lockfile, packages: Object.fromEntries(all) };
}

export const generate: Generator = () => {
  const path = fileURLToPath(new URL('../../package-lock.json', import.meta.url));
  const lockfile = JSON.parse(readFileSync(path, 'utf8')) as Lockfile;
  return [{ path: 'package-lock.json', text: `${JSON.stringify(completed(lockfile), null, 2)}\n` }];
};
