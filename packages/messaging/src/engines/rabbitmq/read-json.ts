/**
 * Contents and headers that only this toolkit is meant to write, read with a net: anybody who may publish to the broker can put something else there (a shovel, a policy with a dead-letter
 * exchange, a person), and what cannot be read must not stop who reads on.
 */

/** Undefined for what is no JSON. */
export function readJson(content: Buffer): unknown {
  try {
    return JSON.parse(content.toString());
  } catch {
    return undefined;
  }
}

type Fields = Readonly<Record<string, unknown>>;

/** The fields of what may be an object; none of anything else. */
export function fieldsOf(found: unknown): Fields {
  return typeof found === 'object' && found !== null ? (found as Fields) : {};
}

export function areTexts(fields: Fields, ...names: readonly string[]): boolean {
  return names.every((name) => typeof fields[name] === 'string');
}

/**
 * The number that a header is, or says in its text; undefined for all else. Not `Number(value)`: a table of AMQP may have fields called `toString` and `valueOf`, and then that throws, as
 * `String(value)` does.
 */
export function numberOf(value: unknown): number | undefined {
  const number = typeof value === 'string' ? Number(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : undefined;
}

/** The text that a header is, or one that shows what it is instead; never throws. */
export function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  if (Buffer.isBuffer(value)) return value.toString();
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
