import { describe, expect, it } from 'vitest';
import { systemRandomness } from '../randomness.ts';
import { Salts } from './salts.ts';

describe('salts', () => {
  it('are 16 bytes in hex, each another one, across draws', () => {
    const salts = new Salts(systemRandomness());
    const drawn = Array.from({ length: 1_000 }, () => salts.next());
    for (const salt of drawn) expect(salt).toMatch(/^[0-9a-f]{32}$/);
    expect(new Set(drawn).size).toBe(1_000);
  });

  it('are the bytes of the port in their order, none skipped and none used twice', () => {
    let given = 0;
    const counting = {
      bytes: (length: number) => Uint8Array.from({ length }, () => (given++ >> 4) & 255),
    };
    const salts = new Salts(counting);
    for (let i = 0; i < 600; i += 1) {
      const byte = (i & 255).toString(16).padStart(2, '0');
      expect(salts.next()).toBe(byte.repeat(16));
    }
  });
});
