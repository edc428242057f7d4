/**
 * The secrets file: everything that must never be lost nor shown, in one file made at first run (mode 0600, written whole or not at all).
 *
 *   master        seals personal data and voucher codes, derives member keys: losing it makes them unreadable; it cannot be rotated in place
 *   sessions      keys of members' sessions, newest first; rotation keeps the older ones until their sessions have ended
 *   signing       Ed25519 keys of receipts, newest first; rotation keeps the older public keys for ever
 *   tokenSecret   HS256 secret shared with the shop, unless the configuration names another
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { OperationalError } from './errors.ts';
import { makeDirectory } from './make-directory.ts';

export interface SigningKey {
  readonly kid: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** ms since the epoch */
  readonly validFrom: number;
  /** Null: in use. Otherwise nothing was signed with it after this time. */
  readonly validUntil: number | null;
}
export interface SessionKey {
  readonly kid: string;
  readonly key: Uint8Array;
  readonly validFrom: number;
}
export interface Secrets {
  readonly master: Uint8Array;
  /** Newest first. */
  readonly sessions: readonly SessionKey[];
  /** Newest first. */
  readonly signing: readonly SigningKey[];
  readonly tokenSecret: string;
}

interface SecretsFile {
  readonly version: 1;
  readonly master: string;
  readonly sessions: readonly { kid: string; key: string; validFrom: number }[];
  readonly signing: readonly {
    kid: string;
    privateKey: string;
    validFrom: number;
    validUntil: number | null;
  }[];
  readonly tokenSecret: string;
}

const newSession = (now: number) => ({
  kid: `s${randomBytes(4).toString('hex')}`,
  key: randomBytes(32).toString('base64url'),
  validFrom: now,
});
const newSigning = (now: number) => ({
  kid: `k${randomBytes(6).toString('hex')}`,
  privateKey: generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  validFrom: now,
  validUntil: null,
});

/** Opens the file; makes it when `create` allows and there is none. `created`: this call made it, it is the first run. */
export function openSecrets(
  path: string,
  now: number,
  create: boolean,
): { secrets: Secrets; created: boolean } {
  if (existsSync(path)) return { secrets: readSecrets(path), created: false };
  if (!create)
    throw new OperationalError('SECRETS_MISSING', {
      detail: `There is none at ${path}. Only a first start makes one: where there is a ledger, its data is sealed with the old one.`,
    });
  const file: SecretsFile = {
    version: 1,
    master: randomBytes(32).toString('base64url'),
    sessions: [newSession(now)],
    signing: [newSigning(now)],
    tokenSecret: randomBytes(32).toString('base64url'),
  };
  const created = makeWhole(path, file);
  return { secrets: readSecrets(path), created };
}

export type Rotation = 'sessions' | 'signing' | 'token';

/** A session lives a week at most, and the restart that puts the new key to use may come some days later. */
const REPLACED_SESSION_KEY_MS = 14 * 24 * 3_600_000;

/** Adds a new key in front; a replaced session key stays two weeks, older signing keys for ever. Takes effect at the next start. */
export function rotateSecrets(path: string, what: Rotation, now: number): void {
  const file = parseFile(path);
  if (what === 'sessions')
    writeWhole(path, {
      ...file,
      sessions: [
        newSession(now),
        // What counts is when its successor took over, not how old it is.
        ...file.sessions.filter(
          (_, i) => now - (file.sessions[i - 1]?.validFrom ?? now) < REPLACED_SESSION_KEY_MS,
        ),
      ],
    });
  else if (what === 'signing')
    writeWhole(path, {
      ...file,
      signing: [newSigning(now), ...file.signing.map((s) => ({ ...s, validUntil: s.validUntil ?? now }))],
    });
  else writeWhole(path, { ...file, tokenSecret: randomBytes(32).toString('base64url') });
}

function readSecrets(path: string): Secrets {
  if ((statSync(path).mode & 0o077) !== 0)
    throw new OperationalError('SECRETS_MISSING', {
      detail: `${path} can be read by others: run chmod 600 on it.`,
    });
  const file = parseFile(path);
  return {
    master: Buffer.from(file.master, 'base64url'),
    sessions: file.sessions.map((s) => ({
      kid: s.kid,
      key: Buffer.from(s.key, 'base64url'),
      validFrom: s.validFrom,
    })),
    signing: file.signing.map((s) => {
      const privateKey = createPrivateKey(s.privateKey);
      return {
        kid: s.kid,
        privateKey,
        publicKey: createPublicKey(privateKey),
        validFrom: s.validFrom,
        validUntil: s.validUntil,
      };
    }),
    tokenSecret: file.tokenSecret,
  };
}

function parseFile(path: string): SecretsFile {
  try {
    const file = JSON.parse(readFileSync(path, 'utf8')) as SecretsFile;
    if (file.version !== 1) throw new Error('its version is not 1');
    requireKeys(file);
    return file;
  } catch (cause) {
    throw new OperationalError('SECRETS_MISSING', {
      detail: `${path} is not a secrets file (${cause instanceof Error ? cause.message : 'unreadable'}).`,
      cause,
    });
  }
}

/** Throws at the first part that cannot be what `openSecrets` wrote: a key that is cut short would be used in silence. */
function requireKeys(file: SecretsFile): void {
  if (byteLength(file.master) !== 32) throw new Error('master is not 32 bytes');
  if (file.sessions.length === 0 || file.sessions.some((s) => byteLength(s.key) !== 32))
    throw new Error('a session key is missing or cut short');
  if (file.signing.length === 0) throw new Error('there is no signing key');
  for (const { privateKey } of file.signing)
    if (createPrivateKey(privateKey).asymmetricKeyType !== 'ed25519')
      throw new Error('a signing key is not Ed25519');
  if (typeof file.tokenSecret !== 'string' || file.tokenSecret.length < 32)
    throw new Error('tokenSecret is missing or cut short');
}

const byteLength = (base64url: string): number => Buffer.from(base64url, 'base64url').length;

/** False when another process made the file meanwhile: that one holds, because data may be sealed with it already. */
function makeWhole(path: string, file: SecretsFile): boolean {
  const draft = `${path}.${randomBytes(6).toString('hex')}.new`;
  writeDraft(path, draft, file);
  try {
    linkSync(draft, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(draft);
    syncFolderOf(path);
  }
}

function writeWhole(path: string, file: SecretsFile): void {
  const draft = `${path}.new`;
  // A draft that a crash left behind may have any mode, and opening it would keep that.
  rmSync(draft, { force: true });
  writeDraft(path, draft, file);
  renameSync(draft, path);
  syncFolderOf(path);
}

function writeDraft(path: string, draft: string, file: SecretsFile): void {
  try {
    makeDirectory(dirname(path));
  } catch (cause) {
    throw new OperationalError('CONFIG_INVALID', {
      detail: `The directory of the secrets file, ${dirname(path)}, cannot be made (${(cause as NodeJS.ErrnoException).code ?? 'error'}).`,
      cause,
    });
  }
  const fd = openSync(draft, 'wx', 0o600);
  writeSync(fd, `${JSON.stringify(file, null, 2)}\n`);
  fsyncSync(fd);
  closeSync(fd);
}

function syncFolderOf(path: string): void {
  const folder = openSync(dirname(path), 'r');
  fsyncSync(folder);
  closeSync(folder);
}
