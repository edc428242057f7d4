/** Whether a directory can carry promises: writable, syncing, on a local disk. Network file systems lie about locks or syncs; memory forgets. */
import { closeSync, fsyncSync, openSync, readFileSync, realpathSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Log } from '@doorbuster/messaging';
import { OperationalError } from '../../errors.ts';
import { makeDirectory } from '../../make-directory.ts';

const network: ReadonlySet<string> = new Set([
  'nfs',
  'nfs4',
  'cifs',
  'smb3',
  'smbfs',
  'ncpfs',
  'afs',
  '9p',
  'fuse.sshfs',
  'fuse.s3fs',
  'fuse.gcsfuse',
  'fuse.rclone',
]);
const volatileKinds: ReadonlySet<string> = new Set(['tmpfs', 'ramfs']);

/** Makes the directory. Throws LEDGER_UNSAFE. */
export function prepareDirectory(
  dataDir: string,
  options: { readonly allowVolatile: boolean; readonly log: Log },
): void {
  tryWriting(dataDir);
  const kind = fileSystemOf(realpathSync(dataDir), readMounts());
  if (kind === null) return;
  if (network.has(kind))
    throw new OperationalError('LEDGER_UNSAFE', {
      detail: `${dataDir} lies on ${kind}, a network file system.`,
    });
  if (!volatileKinds.has(kind)) return;
  if (!options.allowVolatile)
    throw new OperationalError('LEDGER_UNSAFE', {
      detail: `${dataDir} lies on ${kind}: a restart of the machine loses everything in it (--allow-volatile allows it).`,
    });
  options.log.warn({ dataDir, fileSystem: kind }, 'the data directory lies in memory');
}

function tryWriting(dataDir: string): void {
  const probe = join(dataDir, '.probe');
  try {
    makeDirectory(dataDir);
    const fd = openSync(probe, 'w', 0o600);
    writeSync(fd, 'x');
    fsyncSync(fd);
    closeSync(fd);
    // Two starts at once may share the probe; the lock decides between them, not this.
    rmSync(probe, { force: true });
  } catch (cause) {
    throw new OperationalError('LEDGER_UNSAFE', {
      detail: `${dataDir} cannot be written (${cause instanceof Error ? cause.message : String(cause)}).`,
      cause,
    });
  }
}

/** `mounts`: the text of /proc/mounts; the longest mount point that holds the path decides. Null when it is not known. */
export function fileSystemOf(path: string, mounts: string): string | null {
  let best: { readonly point: string; readonly kind: string } | null = null;
  for (const line of mounts.split('\n')) {
    const [, escaped, kind] = line.split(' ');
    if (escaped === undefined || kind === undefined) continue;
    const point = escaped.replace(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    const holds = path === point || path.startsWith(point.endsWith('/') ? point : `${point}/`);
    if (holds && (best === null || point.length >= best.point.length)) best = { point, kind };
  }
  return best?.kind ?? null;
}

/** Linux only; elsewhere nothing is known and nothing refused. */
function readMounts(): string {
  try {
    return readFileSync('/proc/mounts', 'utf8');
  } catch {
    return '';
  }
}
