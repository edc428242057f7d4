/**
 * The vault: everything that needs a secret key, in one place. Derives member keys and blind indexes, seals personal data and voucher codes.
 * Sealing takes the row's own salt: a row whose salt is erased can never be opened again (crypto-shredding).
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  hash,
  hkdfSync,
  type KeyObject,
} from 'node:crypto';
import type { MemberKey } from '@doorbuster/core';

export class Vault {
  readonly #pepper: KeyObject;
  readonly #rowKeys: RowKeys;
  readonly #blind: KeyObject;
  readonly #transaction: KeyObject;
  readonly #fingerprint: string;
  readonly #peppers = new Map<string, KeyObject>();

  /** `master`: 32 bytes from the secrets file. */
  constructor(master: Uint8Array) {
    if (master.length !== 32) throw new Error('the master key has 32 bytes');
    const derive = (use: string) =>
      createSecretKey(Buffer.from(hkdfSync('sha256', master, new Uint8Array(0), `doorbuster ${use}`, 32)));
    this.#pepper = derive('member pepper');
    this.#rowKeys = new RowKeys(derive('data at rest').export());
    this.#blind = derive('blind index');
    this.#transaction = derive('provider transaction');
    this.#fingerprint = derive('fingerprint').export().toString('hex').slice(0, 32);
  }

  /** HMAC(campaign pepper, member id), first 16 bytes, hex. */
  memberKey(campaignId: string, memberId: string): MemberKey {
    let pepper = this.#peppers.get(campaignId);
    if (!pepper) {
      pepper = createSecretKey(createHmac('sha256', this.#pepper).update(campaignId).digest());
      // A member with a token may ask for campaigns that do not exist, as many as he likes.
      if (this.#peppers.size >= mostPeppers) this.#peppers.clear();
      this.#peppers.set(campaignId, pepper);
    }
    return createHmac('sha256', pepper).update(memberId).digest('hex').slice(0, 32);
  }

  /** AES-256-GCM under a key derived from the row's salt (hex). One salt seals one text per `use`, so a fixed nonce is safe. */
  seal(saltHex: string, use: string, text: string): Uint8Array {
    return this.sealBytes(saltBytes(saltHex), use, Buffer.from(text));
  }

  /** The same of bytes. Throws a RangeError on a salt of less than 16. */
  sealBytes(salt: Uint8Array, use: string, text: Uint8Array): Uint8Array {
    const cipher = createCipheriv('aes-256-gcm', this.#rowKeys.keyOf(use, salt), ZERO_NONCE);
    const body = cipher.update(text);
    cipher.final();
    const sealed = new Uint8Array(body.length + TAG_BYTES);
    sealed.set(body);
    sealed.set(cipher.getAuthTag(), body.length);
    return sealed;
  }

  /** Throws when the text was altered or the salt is not its own. */
  open(saltHex: string, use: string, sealed: Uint8Array): string {
    if (sealed.length < TAG_BYTES) throw new RangeError('too short to be sealed text');
    const decipher = createDecipheriv(
      'aes-256-gcm',
      this.#rowKeys.keyOf(use, saltBytes(saltHex)),
      ZERO_NONCE,
      {
        authTagLength: TAG_BYTES,
      },
    );
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
    return Buffer.concat([
      decipher.update(sealed.subarray(0, sealed.length - TAG_BYTES)),
      decipher.final(),
    ]).toString('utf8');
  }

  /** Finds equal voucher codes without opening them. 16 bytes, hex. */
  blindIndex(campaignId: string, code: string): string {
    return createHmac('sha256', this.#blind)
      .update(campaignId)
      .update('\0')
      .update(code)
      .digest('hex')
      .slice(0, 32);
  }

  /** The provider's transaction id: from the unit and its generation, never from the attempt. */
  transactionId(campaignId: string, unit: number, generation: number): string {
    return createHmac('sha256', this.#transaction)
      .update(`${campaignId}|${unit}|${generation}`)
      .digest('hex')
      .slice(0, 40);
  }

  /** Tells whether two vaults have the same master key, and nothing about it: what a ledger keeps to know its own secrets again. */
  fingerprint(): string {
    return this.#fingerprint;
  }
}

/** Rows without a salt of their own would share one key, and the nonce with it. */
function saltBytes(saltHex: string): Uint8Array {
  if (!SALT.test(saltHex)) throw new RangeError('a salt is the hex of 16 bytes or more');
  return Buffer.from(saltHex, 'hex');
}

const BLOCK = 64;

/**
 * HMAC-SHA-256(key, use || salt) by two one-shot hashes, which is what HMAC is: an `Hmac` object per row costs twice as much, and a row is an
 * entry. A key of 32 bytes is shorter than a block, so it is padded with zeros.
 */
class RowKeys {
  readonly #inner = Buffer.alloc(BLOCK + 128);
  readonly #outer = Buffer.alloc(BLOCK + 32);

  constructor(key: Uint8Array) {
    for (let i = 0; i < BLOCK; i++) {
      const byte = key[i] ?? 0;
      this.#inner[i] = byte ^ 0x36;
      this.#outer[i] = byte ^ 0x5c;
    }
  }

  keyOf(use: string, salt: Uint8Array): Uint8Array {
    if (salt.length < 16) throw new RangeError('a salt is the hex of 16 bytes or more');
    const length = BLOCK + use.length + salt.length;
    if (length > this.#inner.length) throw new RangeError('a use and a salt have at most 128 bytes');
    this.#inner.write(use, BLOCK, 'latin1');
    this.#inner.set(salt, BLOCK + use.length);
    this.#outer.write(hash('sha256', this.#inner.subarray(0, length), 'latin1'), BLOCK, 'latin1');
    return hash('sha256', this.#outer, 'buffer');
  }
}

/** Peppers kept; any is derived again. */
const mostPeppers = 1_000;
const ZERO_NONCE = new Uint8Array(12);
const TAG_BYTES = 16;
const SALT = /^(?:[0-9a-f]{2}){16,}$/;
