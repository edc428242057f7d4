/**
 * Canonical JSON: one text for one value (RFC 8785, for the values Doorbuster hashes: JSON values without `undefined`).
 * Keys are sorted by UTF-16 code units; numbers and strings are written as ECMAScript writes them, which is what the RFC asks.
 */

/** Throws a `TypeError` on what JSON cannot hold exactly: non-finite numbers, functions, symbols, bigint, ill-formed strings. */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'number') return canonicalNumber(value);
  if (typeof value === 'string') return canonicalString(value);
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object') throw new TypeError(`no canonical JSON for ${typeof value}`);
  return canonicalObject(value);
}

function canonicalNumber(value: number): string {
  if (!Number.isFinite(value)) throw new TypeError('no canonical JSON for a number that is not finite');
  return JSON.stringify(value);
}

function canonicalString(value: string): string {
  if (!value.isWellFormed()) throw new TypeError('no canonical JSON for a string with a lone surrogate');
  return JSON.stringify(value);
}

/** Fields that are `undefined` are left out, as `JSON.stringify` does. */
function canonicalObject(value: object): string {
  const fields = Object.entries(value)
    .filter(([, field]) => field !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([key, field]) => `${canonicalString(key)}:${canonicalJson(field)}`);
  return `{${fields.join(',')}}`;
}
