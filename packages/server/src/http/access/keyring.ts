/**
 * Who calls: looks an API key up in the ledger and keeps what it found for a moment, so that a script that polls costs one read in five
 * seconds. Revoking or rotating through this process forgets the key at once; another process sees it when its own moment has passed.
 *
 * Unknown ids are kept too, as briefly, or guessing ids would be a way to make the ledger read.
 */
import type { Clock } from '@doorbuster/messaging';
import type { AccessLedger } from '../../ledger.ts';
import { parseToken, sameHash } from './api-keys.ts';

export interface KeyIdentity {
  readonly keyId: string;
  readonly name: string;
  readonly scopes: readonly string[];
}

export interface Keyring {
  /** The key behind a token; null when it is malformed, unknown, wrong, expired or revoked: the caller need not know which. */
  identify(token: string): Promise<KeyIdentity | null>;
  /** True when a token of this key id fitted before in this process: says nothing of this token. */
  isFamiliar(token: string): boolean;
  /** Drops what is kept of this key. */
  forget(keyId: string): void;
}

type FoundKey = Awaited<ReturnType<AccessLedger['findApiKey']>>;
interface Kept {
  readonly found: FoundKey;
  readonly until: number;
}

const keptMs = 5_000;
const noteUseEveryMs = 60_000;
const maxKept = 1_000;

export function createKeyring(
  access: Pick<AccessLedger, 'findApiKey' | 'usedApiKey'>,
  clock: Clock,
): Keyring {
  const kept = new Map<string, Kept>();
  /** Monotonic time of the last note of a key's use. Only keys that fitted are in it. */
  const noted = new Map<string, number>();
  // A look-up that was under way when its key was forgotten must not bring the old state back.
  let generation = 0;

  async function find(keyId: string): Promise<FoundKey> {
    const known = kept.get(keyId);
    if (known && known.until > clock.monotonic()) return known.found;
    const asked = generation;
    const found = await access.findApiKey(keyId);
    if (asked === generation) keep(keyId, found);
    return found;
  }

  /** In the background: a request neither waits for it nor fails with it. */
  function noteUse(keyId: string): void {
    const now = clock.monotonic();
    if (now - (noted.get(keyId) ?? Number.NEGATIVE_INFINITY) < noteUseEveryMs) return;
    if (noted.size >= maxKept) noted.clear();
    noted.set(keyId, now);
    access.usedApiKey(keyId).catch(() => noted.delete(keyId));
  }

  function keep(keyId: string, found: FoundKey): void {
    kept.delete(keyId);
    if (kept.size >= maxKept) kept.delete(kept.keys().next().value!);
    kept.set(keyId, { found, until: clock.monotonic() + keptMs });
  }

  return {
    async identify(token) {
      const parts = parseToken(token);
      if (!parts) return null;
      const key = await find(parts.keyId);
      const now = clock.now();
      if (!key || key.revokedAt !== null || (key.expiresAt !== null && key.expiresAt <= now)) return null;
      const fits = key.secretHashes.some(
        ({ hash, validUntil }) =>
          (validUntil === null || validUntil > now) && sameHash(hash, parts.secretHash),
      );
      if (fits) noteUse(key.keyId);
      return fits ? { keyId: key.keyId, name: key.name, scopes: key.scopes } : null;
    },
    isFamiliar(token) {
      const parts = parseToken(token);
      return parts !== null && noted.has(parts.keyId);
    },
    forget(keyId) {
      generation += 1;
      kept.delete(keyId);
    },
  };
}
