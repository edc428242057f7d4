/**
 * The shop's member tokens (JWT): who the member is, where to reach them, what the rules may look at. Checked by jose with pinned
 * algorithms: HS256 only with the shared secret, RS256, ES256 and EdDSA only with the shop's public keys, so that no key is ever
 * used for an algorithm it was not made for.
 *
 * A bounded queue of its own: a herd of tokens at the opening cannot starve admission, and what does not fit is told to come back. Good
 * tokens are remembered until they expire, a bounded number of them, for apps that send the token itself with every entry.
 */
import { createHash, createSecretKey, type KeyObject } from 'node:crypto';
import type { MemberAttributes, MemberKey } from '@doorbuster/core';
import type { Clock } from '@doorbuster/messaging';
import { Ajv2020 } from 'ajv/dist/2020.js';
import {
  createLocalJWKSet,
  decodeProtectedHeader,
  errors,
  type JSONWebKeySet,
  type JWTPayload,
  jwtVerify,
} from 'jose';
import Type, { type Static } from 'typebox';
import type { Config } from '../../config.ts';
import { OperationalError } from '../../errors.ts';
import type { Contact } from '../../ledger.ts';
import type { Vault } from '../../vault.ts';
import { isText } from '../text.ts';

const instant = {
  anyOf: [Type.String({ maxLength: 40 }), Type.Number()],
  description: 'RFC 3339 text, or seconds since the epoch.',
};

/** What a token says beyond `iss`, `aud`, `exp`, `nbf` and `iat`. Further claims are ignored. */
export const memberClaims = Type.Object({
  sub: Type.String({ minLength: 1, maxLength: 256, description: "The member's id in the shop." }),
  email: Type.Optional(Type.String({ minLength: 3, maxLength: 254, pattern: '^[^@\\s]+@[^@\\s]+$' })),
  phone: Type.Optional(Type.String({ minLength: 5, maxLength: 32, pattern: '^[+0-9 ()-]+$' })),
  locale: Type.Optional(
    Type.String({ maxLength: 35, description: 'Language of messages: `ko...` or `en...`.' }),
  ),
  lastPurchaseAt: Type.Optional(Type.Unsafe<string | number>(instant)),
  orders: Type.Optional(Type.Integer({ minimum: 0 })),
  tier: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })),
  tags: Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 64 }), { maxItems: 50 })),
});
type MemberClaims = Static<typeof memberClaims>;

export interface TokenMember {
  readonly memberKey: MemberKey;
  readonly contact: Contact | null;
  readonly attributes: MemberAttributes | null;
  /** ms since the epoch: a session or a remembered check ends here at the latest for the token itself. */
  readonly expiresAt: number;
  /** Set by the caller once the ledger knows contact and attributes of this token. */
  registered: boolean;
}

export interface TokenChecks {
  /** Throws TOKEN_INVALID with what is wrong, and ADMISSION_FULL when too many checks wait. */
  check(campaignId: string, token: string): Promise<TokenMember>;
  /** Checks that wait now. */
  waiting(): number;
}

export interface TokenOptions {
  readonly tokens: Config['tokens'];
  /** Checks that may wait. */
  readonly limit: number;
  /** HS256 secret, at least 32 bytes. */
  readonly sharedSecret: string;
  /** The shop's public keys; null without asymmetric algorithms. */
  readonly jwks: JSONWebKeySet | null;
  readonly vault: Vault;
  readonly clock: Clock;
}

const longestToken = 8_192;
const checksAtOnce = 32;
const mostRemembered = 20_000;

export function createTokenChecks(options: TokenOptions): TokenChecks {
  if (options.tokens.algorithms.includes('HS256') && Buffer.byteLength(options.sharedSecret) < 32)
    throw new OperationalError('CONFIG_INVALID', {
      detail: 'The shared secret of tokens needs at least 32 bytes.',
    });
  return new Checks(options);
}

class Checks implements TokenChecks {
  readonly #options: TokenOptions;
  readonly #secret: KeyObject;
  readonly #publicKeys: ReturnType<typeof createLocalJWKSet> | null;
  readonly #validClaims = new Ajv2020({ strict: false }).compile<MemberClaims>(memberClaims);
  readonly #queue: (() => void)[] = [];
  #running = 0;
  #young = new Map<string, TokenMember>();
  #old = new Map<string, TokenMember>();

  constructor(options: TokenOptions) {
    this.#options = options;
    this.#secret = createSecretKey(options.sharedSecret, 'utf8');
    this.#publicKeys = options.jwks && createLocalJWKSet(options.jwks);
  }

  waiting(): number {
    return this.#queue.length;
  }

  async check(campaignId: string, token: string): Promise<TokenMember> {
    if (token.length > longestToken) throw invalid('It is too long.');
    const key = createHash('sha256').update(campaignId).update('\0').update(token).digest('base64');
    const known = this.#young.get(key) ?? this.#old.get(key);
    if (known && known.expiresAt > this.#options.clock.now()) return known;
    await this.#enter();
    try {
      const member = this.#memberOf(campaignId, await this.#verify(token));
      this.#remember(key, member);
      return member;
    } finally {
      this.#leave();
    }
  }

  async #verify(token: string): Promise<JWTPayload> {
    const { tokens, clock } = this.#options;
    try {
      const { alg } = decodeProtectedHeader(token);
      if (!alg || !(tokens.algorithms as readonly string[]).includes(alg))
        throw invalid('Its algorithm is not accepted.');
      const checks = {
        algorithms: [alg],
        audience: tokens.audience,
        ...(tokens.issuer === undefined ? {} : { issuer: tokens.issuer }),
        requiredClaims: ['sub', 'exp'],
        maxTokenAge: `${tokens.maxAgeMinutes} minutes`,
        clockTolerance: tokens.clockToleranceSeconds,
        currentDate: new Date(clock.now()),
      };
      if (alg === 'HS256') return (await jwtVerify(token, this.#secret, checks)).payload;
      if (!this.#publicKeys) throw invalid('Its algorithm is not accepted.');
      return (await jwtVerify(token, this.#publicKeys, checks)).payload;
    } catch (error) {
      if (error instanceof OperationalError) throw error;
      throw invalid(reasonOf(error), error);
    }
  }

  #memberOf(campaignId: string, payload: JWTPayload): TokenMember {
    // Both are there: the check needs `exp`, and the age of a token needs `iat`.
    const { exp, iat } = payload;
    if (!this.#validClaims(payload)) {
      const fault = this.#validClaims.errors?.[0];
      throw invalid(
        `The claim ${fault?.instancePath.slice(1) || 'sub'} ${fault?.message ?? 'is not valid'}.`,
      );
    }
    const claims: MemberClaims = payload;
    const odd = textsOf(claims).find(([, text]) => !isText(text));
    if (odd) throw invalid(`The claim ${odd[0]} has characters that are not text.`);
    return {
      memberKey: this.#options.vault.memberKey(campaignId, claims.sub),
      contact: contactOf(claims),
      attributes: attributesOf(claims),
      expiresAt: Math.min(exp!, iat! + this.#options.tokens.maxAgeMinutes * 60) * 1000,
      registered: false,
    };
  }

  #remember(key: string, member: TokenMember): void {
    if (this.#young.size >= mostRemembered) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, member);
  }

  #enter(): Promise<void> | void {
    if (this.#running < checksAtOnce) {
      this.#running += 1;
      return;
    }
    if (this.#queue.length >= this.#options.limit)
      return Promise.reject(
        new OperationalError('ADMISSION_FULL', {
          detail: 'Too many tokens wait to be checked.',
          retryAfterMs: 1_000,
        }),
      );
    return new Promise((resolve) => this.#queue.push(resolve));
  }

  /** The place goes straight to the next in the queue. */
  #leave(): void {
    const next = this.#queue.shift();
    if (next) next();
    else this.#running -= 1;
  }
}

function invalid(detail: string, cause?: unknown): OperationalError {
  return new OperationalError('TOKEN_INVALID', { detail, cause });
}

/** What is wrong, without telling a forger more than the shop's engineer needs. */
function reasonOf(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'It has expired or is too old.';
  if (error instanceof errors.JWTClaimValidationFailed)
    return `The claim ${error.claim} ${error.reason === 'missing' ? 'is missing' : 'does not fit'}.`;
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'The signature does not match.';
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)
    return 'No public key of the shop fits it.';
  return 'It cannot be read.';
}

function textsOf({ sub, email, phone, locale, tier, tags = [] }: MemberClaims): [string, string][] {
  const single = Object.entries({ sub, email, phone, locale, tier }).filter(
    (claim): claim is [string, string] => claim[1] !== undefined,
  );
  return [...single, ...tags.map((tag): [string, string] => ['tags', tag])];
}

function contactOf({ email, phone, locale }: MemberClaims): Contact | null {
  if (email === undefined && phone === undefined) return null;
  const language = locale?.slice(0, 2).toLowerCase();
  return {
    ...(email === undefined ? {} : { email }),
    ...(phone === undefined ? {} : { phone }),
    ...(language === 'ko' || language === 'en' ? { locale: language } : {}),
  };
}

function attributesOf({ lastPurchaseAt, orders, tier, tags }: MemberClaims): MemberAttributes | null {
  const attributes: MemberAttributes = {
    ...(lastPurchaseAt === undefined ? {} : { lastPurchaseAt: timeOf(lastPurchaseAt) }),
    ...(orders === undefined ? {} : { orders }),
    ...(tier === undefined ? {} : { tier }),
    ...(tags === undefined ? {} : { tags }),
  };
  return Object.keys(attributes).length > 0 ? attributes : null;
}

function timeOf(value: string | number): number {
  const ms = typeof value === 'number' ? Math.floor(value * 1000) : Date.parse(value);
  if (!Number.isSafeInteger(ms) || ms < 0) throw invalid('The claim lastPurchaseAt is not a time.');
  return ms;
}
