/**
 * Canonical JSON: one text for one value (RFC 8785, for the values Doorbuster hashes: JSON values without `undefined`).
 * Keys are sorted by UTF-16 code units; numbers and strings are written as ECMAScript writes them, which is what the RFC asks.
 */

/** Throws a `TypeError` on what JSON cannot hold exactly: non-finite numbers, functions, symbols, bigint, ill-formed strings. */
export function canonicalJson(value: unknown): string {
  return isInOrder(value) ? JSON.stringify(value) : canonicalText(value);
}

/**
 * True when `JSON.stringify` gives the canonical text: plain values whose keys are sorted already, as most are. It is native, and a look costs less than
 * building the text here. Whatever is unusual, or wrong, is left to `canonicalText`.
 */
function isInOrder(value: unknown): boolean {
  if (typeof value === 'string') return value.isWellFormed();
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value !== 'object') return typeof value === 'boolean';
  if (value === null) return true;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Array.prototype) return isListInOrder(value as readonly unknown[]);
  return (prototype === Object.prototype || prototype === null) && areFieldsInOrder(value);
}

/** By index, because a hole is no value. */
function isListInOrder(list: readonly unknown[]): boolean {
  for (let i = 0; i < list.length; i++) if (!isInOrder(list[i])) return false;
  return !('toJSON' in list);
}

function areFieldsInOrder(value: object): boolean {
  let before: string | null = null;
  for (const key of Object.keys(value)) {
    if ((before !== null && key < before) || !key.isWellFormed()) return false;
    if (!isInOrder((value as Readonly<Record<string, unknown>>)[key])) return false;
    before = key;
  }
  return !('toJSON' in value);
}

function canonicalText(value: unknown): string {
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'number') return canonicalNumber(value);
  if (typeof value === 'string') return canonicalString(value);
  if (Array.isArray(value)) return `[${value.map(canonicalText).join(',')}]`;
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
    .map(([key, field]) => `${canonicalString(key)}:${canonicalText(field)}`);
  return `{${fields.join(',')}}`;
}
