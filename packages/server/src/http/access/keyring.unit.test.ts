import { createManualClock } from '@doorbuster/messaging/conformance';
import { expect, test } from 'vitest';
import type { AccessLedger, ApiKey } from '../../ledger.ts';
import { systemRandomness } from '../../randomness.ts';
import { createApiKey, parseToken, sameHash } from './api-keys.ts';
import { createKeyring } from './keyring.ts';
import { createRateLimit } from './rate-limit.ts';
import { allows, missingScopes } from './scopes.ts';

type Found = NonNullable<Awaited<ReturnType<AccessLedger['findApiKey']>>>;

/** The two methods of the ledger that a keyring needs, counting what it is asked. */
async function keyWith(changes: Partial<Found> = {}) {
  const clock = createManualClock();
  let stored: Found | null = null;
  let reads = 0;
  let uses = 0;
  const access = {
    createApiKey: async (key: Parameters<AccessLedger['createApiKey']>[0]): Promise<ApiKey> => {
      const { secretHash, ...rest } = key;
      const apiKey = { ...rest, createdAt: 0, lastUsedAt: null, revokedAt: null };
      stored = { ...apiKey, secretHashes: [{ hash: secretHash, validUntil: null }], ...changes };
      return apiKey;
    },
    findApiKey: async (): Promise<Found | null> => {
      reads += 1;
      return stored;
    },
    usedApiKey: async () => void (uses += 1),
  };
  const { token, apiKey } = await createApiKey(
    access,
    systemRandomness(),
    { name: 'n', scopes: ['*'] },
    { kind: 'system', id: 't' },
  );
  return {
    clock,
    access,
    token,
    apiKey,
    keyring: createKeyring(access, clock),
    reads: () => reads,
    uses: () => uses,
    drop: () => void (stored = null),
  };
}

test('a key is known by its token, and asked of the ledger once in a while', async () => {
  const { keyring, token, apiKey, reads, clock } = await keyWith();
  expect(await keyring.identify(token)).toEqual({ keyId: apiKey.keyId, name: 'n', scopes: ['*'] });
  await keyring.identify(token);
  expect(reads()).toBe(1);
  clock.advance(5_001);
  await keyring.identify(token);
  expect(reads()).toBe(2);
});

test('a forgotten key is asked for at once', async () => {
  const { keyring, token, apiKey, drop } = await keyWith();
  await keyring.identify(token);
  drop();
  expect(await keyring.identify(token)).not.toBeNull();
  keyring.forget(apiKey.keyId);
  expect(await keyring.identify(token)).toBeNull();
});

test('a look-up under way while the key is forgotten is not kept', async () => {
  const { keyring, token, apiKey, drop, reads } = await keyWith();
  const early = keyring.identify(token);
  keyring.forget(apiKey.keyId);
  drop();
  await early;
  expect(await keyring.identify(token)).toBeNull();
  expect(reads()).toBe(2);
});

test('wrong, malformed, expired and revoked keys are all the same no', async () => {
  const { keyring, token } = await keyWith();
  const wrong = token.slice(0, -4) + (token.endsWith('AAAA') ? 'BBBB' : 'AAAA');
  for (const text of [wrong, '', 'dbk_', `${token}x`, token.toUpperCase()])
    expect(await keyring.identify(text)).toBeNull();
  const expired = await keyWith({ expiresAt: 1 });
  expect(await expired.keyring.identify(expired.token)).toBeNull();
  const revoked = await keyWith({ revokedAt: 1 });
  expect(await revoked.keyring.identify(revoked.token)).toBeNull();
});

test('a rotated secret works until its grace ends', async () => {
  const { keyring, token, clock, access } = await keyWith();
  const found = (await access.findApiKey())!;
  (found.secretHashes as { hash: string; validUntil: number | null }[])[0]!.validUntil = clock.now() + 1_000;
  expect(await keyring.identify(token)).not.toBeNull();
  clock.advance(1_000);
  expect(await keyring.identify(token)).toBeNull();
});

test('the token holds no more than its parts, and hashes compare whole', () => {
  expect(parseToken('dbk_0123456789abcdef_short')).toBeNull();
  expect(sameHash('00', '00')).toBe(true);
  expect(sameHash('00', '0000')).toBe(false);
});

test('scopes: `*` is all, and nobody gives what he has not', () => {
  expect(allows(['*'], 'keys:write')).toBe(true);
  expect(allows(['audit:read'], 'keys:write')).toBe(false);
  expect(missingScopes(['keys:write'], ['keys:write', '*'])).toEqual(['*']);
  expect(missingScopes(['*'], ['*'])).toEqual([]);
});

test('a window refuses beyond its quota and begins again', () => {
  const clock = createManualClock();
  const limit = createRateLimit(clock, 2, 60);
  expect([limit.take('a'), limit.take('a'), limit.take('a')].map((s) => s.allowed)).toEqual([
    true,
    true,
    false,
  ]);
  expect(limit.take('b').allowed).toBe(true);
  expect(limit.peek('a')).toMatchObject({ allowed: false, remaining: 0, resetSeconds: 60 });
  clock.advance(60_000);
  expect(limit.take('a')).toMatchObject({ allowed: true, remaining: 1 });
});

test('its use is noted once a minute, and never for a token that does not fit', async () => {
  const { keyring, token, uses, clock } = await keyWith();
  await keyring.identify(`${token.slice(0, -1)}${token.endsWith('A') ? 'B' : 'A'}`);
  expect(uses()).toBe(0);
  await keyring.identify(token);
  await keyring.identify(token);
  expect(uses()).toBe(1);
  clock.advance(61_000);
  await keyring.identify(token);
  expect(uses()).toBe(2);
});
