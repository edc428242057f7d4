/**
 * Bytes, hex and UTF-8 without `Buffer` or `TextEncoder`, because `core` runs wherever JavaScript runs and imports nothing.
 * Hex is lower-case and strict: a digest has one spelling only, or a changed receipt could still verify.
 */

const digits: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  byte.toString(16).padStart(2, '0'),
);

/** Lower-case hex of the bytes. */
export function hexOf(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i++) text += digits[bytes[i] as number];
  return text;
}

/** -1 for whatever is not one of 0-9 and a-f. */
function nibble(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  if (code >= 97 && code <= 102) return code - 87;
  return -1;
}

/** Bytes of lower-case hex. Throws a `RangeError` on an odd length or any other character. */
export function bytesOfHex(text: string): Uint8Array {
  if (text.length % 2 !== 0) throw new RangeError('hex has an odd length');
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) {
    const high = nibble(text.charCodeAt(2 * i));
    const low = nibble(text.charCodeAt(2 * i + 1));
    if (high < 0 || low < 0) throw new RangeError('not lower-case hex');
    bytes[i] = high * 16 + low;
  }
  return bytes;
}

/** True for `bytes` bytes of lower-case hex. */
export function isHex(value: unknown, bytes: number): value is string {
  if (typeof value !== 'string' || value.length !== bytes * 2) return false;
  for (let i = 0; i < value.length; i++) if (nibble(value.charCodeAt(i)) < 0) return false;
  return true;
}

/** True for the lower-case hex of a SHA-256 digest. */
export function isDigest(value: unknown): value is string {
  return isHex(value, 32);
}

/** UTF-8 bytes of a text after `offset` zero bytes; a lone surrogate becomes U+FFFD, as in `TextEncoder`. */
export function utf8Of(text: string, offset = 0): Uint8Array {
  const bytes = new Uint8Array(offset + text.length);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 127) return wideUtf8Of(text, offset);
    bytes[offset + i] = code;
  }
  return bytes;
}

function wideUtf8Of(text: string, offset: number): Uint8Array {
  const bytes = new Uint8Array(offset + text.length * 3);
  let at = offset;
  for (const character of text) {
    let code = character.codePointAt(0) as number;
    if (code >= 0xd800 && code <= 0xdfff) code = 0xfffd;
    if (code < 0x80) {
      bytes[at++] = code;
      continue;
    }
    const tail = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    bytes[at++] = ([0, 0xc0, 0xe0, 0xf0][tail] as number) | (code >> (6 * tail));
    for (let i = tail - 1; i >= 0; i--) bytes[at++] = 0x80 | ((code >> (6 * i)) & 0x3f);
  }
  return bytes.subarray(0, at);
}

/** All parts, one after the other. */
export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
