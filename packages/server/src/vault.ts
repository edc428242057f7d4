/**
 * The vault: everything that needs a secret key, in one place. Derives member keys and blind indexes, seals personal data and voucher codes.
 * Sealing takes the row's own salt: a row whose salt is erased can never be opened again (crypto-shredding).
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  hkdfSync,
  type KeyObject,
} from 'node:crypto';
import type { MemberKey } from '@doorbuster/core';

export class Vault {
  readonly #pepper: KeyObject;
  readonly #data: KeyObject;
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
    this.#data = derive('data at rest');
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
    const cipher = createCipheriv('aes-256-gcm', this.#rowKey(saltHex, use), ZERO_NONCE);
    return Buffer.concat([cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
  }

  /** Throws when the text was altered or the salt is not its own. */
  open(saltHex: string, use: string, sealed: Uint8Array): string {
    if (sealed.length < TAG_BYTES) throw new RangeError('too short to be sealed text');
    const decipher = createDecipheriv('aes-256-gcm', this.#rowKey(saltHex, use), ZERO_NONCE, {
      authTagLength: TAG_BYTES,
    });
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

  #rowKey(saltHex: string, use: string): Uint8Array {
    // Rows without a salt of their own would share one key, and the nonce with it.
    if (!SALT.test(saltHex)) throw new RangeError('a salt is the hex of 16 bytes or more');
    return createHmac('sha256', this.#data).update(use).update(saltHex, 'hex').digest();
  }
}

/** Peppers kept; any is derived again. */
const mostPeppers = 1_000;
const ZERO_NONCE = new Uint8Array(12);
const TAG_BYTES = 16;
const SALT = /^(?:[0-9a-f]{2}){16,}$/;
