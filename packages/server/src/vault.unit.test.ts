import { createDecipheriv, createHmac, hkdfSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Vault } from './vault.ts';

const vault = new Vault(new Uint8Array(32).fill(7));
const salt = 'a1'.repeat(16);
const otherSalt = 'a2'.repeat(16);
/** What the cipher says of a wrong key or changed text, and what the vault says of what cannot be either. */
const refused = /unable to authenticate|too short|a salt is/i;

describe('sealing', () => {
  it('gives back what was sealed', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(vault.open(salt, 'contact', vault.seal(salt, 'contact', text))).toBe(text.toWellFormed());
      }),
    );
  });

  it('opens with its own salt, use and master only', () => {
    const sealed = vault.seal(salt, 'contact', 'kim@shop.example');
    expect(() => vault.open(otherSalt, 'contact', sealed)).toThrow(refused);
    expect(() => vault.open(salt, 'answers', sealed)).toThrow(refused);
    expect(() => new Vault(new Uint8Array(32).fill(8)).open(salt, 'contact', sealed)).toThrow(refused);
    expect(vault.open(salt, 'contact', sealed)).toBe('kim@shop.example');
  });

  it('is lost with its salt: nothing stands in for one that was erased', () => {
    const sealed = vault.seal(salt, 'contact', 'kim@shop.example');
    for (const erased of ['', '00'.repeat(16), 'zz'.repeat(16)])
      expect(() => vault.open(erased, 'contact', sealed)).toThrow(refused);
  });

  it('never seals under a salt that is none: every such row would share one key', () => {
    for (const bad of ['', 'a1', 'not hex at all, though long enough'])
      expect(() => vault.seal(bad, 'contact', 'x')).toThrow(RangeError);
  });

  it('derives the key of a row by HMAC-SHA-256 of use and salt', () => {
    const master = new Uint8Array(32).fill(7);
    const data = Buffer.from(hkdfSync('sha256', master, new Uint8Array(0), 'doorbuster data at rest', 32));
    for (const own of [salt, `${salt}00ff`]) {
      const sealed = vault.seal(own, 'contact', 'kim@shop.example');
      const key = createHmac('sha256', data).update('contact').update(own, 'hex').digest();
      const decipher = createDecipheriv('aes-256-gcm', key, new Uint8Array(12));
      decipher.setAuthTag(sealed.subarray(-16));
      expect(Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()]).toString()).toBe(
        'kim@shop.example',
      );
    }
    expect(() => vault.seal('ab'.repeat(128), 'contact', 'x')).toThrow('at most 128 bytes');
  });

  it('shows any change, at every byte', () => {
    const sealed = vault.seal(salt, 'contact', 'short');
    for (let i = 0; i < sealed.length; i++) {
      const altered = Uint8Array.from(sealed);
      altered[i] = (altered[i] ?? 0) ^ 1;
      expect(() => vault.open(salt, 'contact', altered), `byte ${i}`).toThrow(refused);
    }
    for (let length = 0; length < sealed.length; length++)
      expect(() => vault.open(salt, 'contact', sealed.subarray(0, length)), `${length} bytes`).toThrow(
        refused,
      );
  });
});

describe('derived values', () => {
  it('gives a member another key in every campaign and every installation', () => {
    const key = vault.memberKey('spring', 'member-1');
    expect(key).toMatch(/^[0-9a-f]{32}$/);
    expect(vault.memberKey('spring', 'member-1')).toBe(key);
    expect(vault.memberKey('autumn', 'member-1')).not.toBe(key);
    expect(vault.memberKey('spring', 'member-2')).not.toBe(key);
    expect(new Vault(new Uint8Array(32).fill(8)).memberKey('spring', 'member-1')).not.toBe(key);
  });

  it('finds equal codes of one campaign, and says nothing across campaigns', () => {
    const index = vault.blindIndex('spring', 'GIFT-1');
    expect(index).toMatch(/^[0-9a-f]{32}$/);
    expect(vault.blindIndex('spring', 'GIFT-1')).toBe(index);
    expect(vault.blindIndex('autumn', 'GIFT-1')).not.toBe(index);
    expect(vault.blindIndex('sprin', 'gGIFT-1')).not.toBe(index);
  });

  it('makes one transaction id for a unit and its generation', () => {
    const ids = [
      ['spring', 1, 1],
      ['spring', 1, 2],
      ['spring', 11, 1],
      ['autumn', 1, 1],
    ].map(([campaign, unit, generation]) =>
      vault.transactionId(String(campaign), Number(unit), Number(generation)),
    );
    expect(new Set(ids).size).toBe(4);
    expect(ids[0]).toMatch(/^[0-9a-f]{40}$/);
    expect(vault.transactionId('spring', 1, 1)).toBe(ids[0]);
  });

  it('wants a whole master key', () => {
    expect(() => new Vault(new Uint8Array(31))).toThrow('32 bytes');
  });
});
