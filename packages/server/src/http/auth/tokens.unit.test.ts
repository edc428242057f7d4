import { createHmac, createSecretKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { createManualClock } from '@doorbuster/messaging/conformance';
import { exportJWK, SignJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../config.ts';
import type { OperationalError } from '../../errors.ts';
import { Vault } from '../../vault.ts';
import { createTokenChecks, type TokenOptions } from './tokens.ts';

const sharedSecret = 'a shared secret of at least 32 bytes';
const secret = createSecretKey(sharedSecret, 'utf8');
const { tokens } = loadConfig({ environment: {} });
const vault = new Vault(new Uint8Array(32).fill(7));

function made(options: Partial<TokenOptions> = {}) {
  const clock = createManualClock();
  const checks = createTokenChecks({
    tokens,
    limit: 2_000,
    sharedSecret,
    jwks: null,
    vault,
    clock,
    ...options,
  });
  const now = Math.floor(clock.now() / 1000);
  const claims = { sub: 'm1', aud: 'doorbuster', iat: now, exp: now + 600 };
  return { clock, checks, now, claims };
}

const signed = (
  claims: object,
  key: KeyObject = secret,
  header: { alg: string; kid?: string } = { alg: 'HS256' },
) => new SignJWT({ ...claims }).setProtectedHeader(header).sign(key);
const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
const refused = async (check: Promise<unknown>): Promise<string> => {
  const error = await check.then(
    () => null,
    (e: unknown) => e as OperationalError,
  );
  return error?.code === 'TOKEN_INVALID' ? error.message : 'not refused';
};
const notValid = /^The token is not valid/;

describe('member tokens', () => {
  it('give the member, contact and attributes', async () => {
    const { checks, claims } = made();
    const token = await signed({
      ...claims,
      email: 'a@example.com',
      locale: 'ko-KR',
      lastPurchaseAt: '2026-01-01T00:00:00Z',
      orders: 3,
      tier: 'gold',
      tags: ['vip'],
      other: { ignored: true },
    });
    expect(await checks.check('gift', token)).toEqual({
      memberKey: vault.memberKey('gift', 'm1'),
      contact: { email: 'a@example.com', locale: 'ko' },
      attributes: { lastPurchaseAt: Date.UTC(2026, 0, 1), orders: 3, tier: 'gold', tags: ['vip'] },
      expiresAt: claims.exp * 1000,
      registered: false,
    });
  });

  it('are too old by their iat, remembered or not', async () => {
    const { checks, claims, clock, now } = made();
    const token = await signed({ ...claims, exp: now + 365 * 86_400 });
    await checks.check('gift', token);
    clock.advance((tokens.maxAgeMinutes * 60 + tokens.clockToleranceSeconds + 1) * 1000);
    expect(await refused(checks.check('gift', token))).toMatch(/too old/);
  });

  it('are remembered until they expire, and per campaign', async () => {
    const { checks, claims, clock } = made();
    const token = await signed(claims);
    const first = await checks.check('gift', token);
    expect(await checks.check('gift', token)).toBe(first);
    expect((await checks.check('other', token)).memberKey).not.toBe(first.memberKey);
    clock.advance(611_000);
    expect(await refused(checks.check('gift', token))).toMatch(notValid);
  });

  it.each([
    ['expired', (c: Claims, now: number) => ({ ...c, exp: now - 11 }), /expired/],
    ['not valid yet', (c: Claims, now: number) => ({ ...c, nbf: now + 60 }), /nbf/],
    ['too old', (c: Claims, now: number) => ({ ...c, iat: now - 3_700 }), /too old/],
    ['made in the future', (c: Claims, now: number) => ({ ...c, iat: now + 3_600 }), /iat/],
    ['for another audience', (c: Claims) => ({ ...c, aud: 'bank' }), /aud/],
    ['without an audience', (c: Claims) => ({ ...c, aud: undefined }), /aud/],
    ['without an end', (c: Claims) => ({ ...c, exp: undefined }), /exp/],
    ['without a member', (c: Claims) => ({ ...c, sub: undefined }), /sub/],
    ['with an empty member', (c: Claims) => ({ ...c, sub: '' }), /sub/],
    ['with a member that is no text', (c: Claims) => ({ ...c, sub: 7 }), /sub/],
    ['with half a character for a member', (c: Claims) => ({ ...c, sub: 'm1\ud800' }), /sub has characters/],
    ['with a null byte in the member', (c: Claims) => ({ ...c, sub: 'm1\0' }), /sub has characters/],
    ['with a line break in the address', (c: Claims) => ({ ...c, email: 'a@b.c\u007f' }), /email has/],
    ['with half a character in a tag', (c: Claims) => ({ ...c, tags: ['vip', '\udc00'] }), /tags has/],
    ['with orders below nothing', (c: Claims) => ({ ...c, orders: -1 }), /orders/],
    ['with a time that is none', (c: Claims) => ({ ...c, lastPurchaseAt: 'yesterday' }), /lastPurchaseAt/],
  ])('%s: refused', async (_name, change, reason) => {
    const { checks, claims, now } = made();
    expect(await refused(checks.check('gift', await signed(change(claims, now))))).toMatch(reason);
  });

  it('alg none, in any spelling, with and without a signature', async () => {
    const { checks, claims } = made();
    for (const alg of ['none', 'None', 'NONE', '']) {
      const open = `${part({ alg, typ: 'JWT' })}.${part(claims)}.`;
      expect(await refused(checks.check('gift', open))).toMatch(notValid);
      expect(
        await refused(
          checks.check(
            'gift',
            open + createHmac('sha256', sharedSecret).update(open.slice(0, -1)).digest('base64url'),
          ),
        ),
      ).toMatch(notValid);
    }
  });

  it('another key, another payload under a good signature, another algorithm of the same family', async () => {
    const { checks, claims } = made();
    expect(
      await refused(
        checks.check(
          'gift',
          await signed(claims, createSecretKey('another secret of at least 32 bytes!', 'utf8')),
        ),
      ),
    ).toMatch(notValid);
    const [header, , signature] = (await signed(claims)).split('.');
    expect(
      await refused(checks.check('gift', `${header}.${part({ ...claims, sub: 'm2' })}.${signature}`)),
    ).toMatch(notValid);
    expect(
      await refused(
        checks.check('gift', await signed(claims, createSecretKey(Buffer.alloc(64, 1)), { alg: 'HS512' })),
      ),
    ).toMatch(notValid);
  });

  it.each(['', 'x', 'a.b', 'a.b.c', '..', 'é.é.é', 'x'.repeat(9_000)])(
    'what is no token: %.10s',
    async (token) => {
      const { checks } = made();
      expect(await refused(checks.check('gift', token))).toMatch(notValid);
    },
  );

  it('with public keys: each algorithm with its own kind of key, and never the public key as a secret', async () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const ed = generateKeyPairSync('ed25519');
    const jwks = {
      keys: [
        { ...(await exportJWK(rsa.publicKey)), kid: 'r', alg: 'RS256' },
        { ...(await exportJWK(ed.publicKey)), kid: 'e', alg: 'EdDSA' },
      ],
    };
    const { checks, claims } = made({ jwks, tokens: { ...tokens, algorithms: ['RS256', 'EdDSA', 'HS256'] } });
    await checks.check('gift', await signed(claims, rsa.privateKey, { alg: 'RS256', kid: 'r' }));
    await checks.check('gift', await signed(claims, ed.privateKey, { alg: 'EdDSA', kid: 'e' }));
    const pem = rsa.publicKey.export({ type: 'spki', format: 'pem' });
    expect(
      await refused(
        checks.check(
          'gift',
          await signed(claims, createSecretKey(Buffer.from(pem)), { alg: 'HS256', kid: 'r' }),
        ),
      ),
    ).toMatch(notValid);
    expect(
      await refused(
        checks.check(
          'gift',
          await signed(claims, generateKeyPairSync('ed25519').privateKey, { alg: 'EdDSA', kid: 'e' }),
        ),
      ),
    ).toMatch(notValid);
    expect(
      await refused(
        checks.check('gift', await signed(claims, ed.privateKey, { alg: 'EdDSA', kid: 'nobody' })),
      ),
    ).toMatch(notValid);
  });

  it('only the pinned algorithms', async () => {
    const { checks, claims } = made({ tokens: { ...tokens, algorithms: ['RS256'] } });
    expect(await refused(checks.check('gift', await signed(claims)))).toMatch(/algorithm/);
  });

  it('a secret that is too short is refused at start', () => {
    expect(() => made({ sharedSecret: 'short' })).toThrow(/32 bytes/);
  });

  it('a herd beyond the queue is told to come back; those in the queue are checked', async () => {
    const { checks, claims } = made({ limit: 10 });
    const herd = await Promise.all(
      Array.from({ length: 60 }, async (_, i) => signed({ ...claims, sub: `m${i}` })),
    );
    const results = await Promise.allSettled(herd.map((token) => checks.check('gift', token)));
    const shed = results.filter((result) => result.status === 'rejected');
    expect(shed).toHaveLength(60 - 32 - 10);
    for (const { reason } of shed) expect((reason as OperationalError).code).toBe('ADMISSION_FULL');
    expect(checks.waiting()).toBe(0);
    await checks.check('gift', herd[59]!);
  });
});

type Claims = { sub: string; aud: string; iat: number; exp: number };
