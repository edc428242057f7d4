/**
 * Values in the headers of strangers that amqplib reads and cannot write: a number that is none, a table that looks like amqplib's own notation of a type, a time
 * beyond its range. A copy of such a message (a retry, a redrive) would never go out, and its channel would be opened anew for it each time. In the copy they are
 * texts: numbers as a handler sees them anyway, tables as JSON.
 */
import type { MessagePropertyHeaders } from 'amqplib';

/** Beyond it amqplib takes every number for an integer of 64 bits. */
const LARGEST_FRACTION = 2 ** 50;
const SMALLEST_INTEGER = -(2 ** 63);
const LARGEST_TIME = 2 ** 64;
const TYPE = '!';

/** The same headers where all of them can be written, as nearly always. */
export function carriable(headers: MessagePropertyHeaders): MessagePropertyHeaders {
  let found = false;
  const entries = Object.entries(headers).map(([name, value]) => {
    const text = carried(value);
    found ||= text !== value;
    return [name, text] as const;
  });
  return found ? Object.fromEntries(entries) : headers;
}

/** The value itself, or what stands for it. */
function carried(value: unknown): unknown {
  if (typeof value === 'number') return isWritable(value) ? value : String(value);
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  if (Array.isArray(value)) {
    const all = value.map(carried);
    return all.some((one, index) => one !== value[index]) ? all : value;
  }
  const table = value as MessagePropertyHeaders;
  if (Object.hasOwn(table, TYPE)) return isTyped(table) ? table : JSON.stringify(table);
  return carriable(table);
}

function isWritable(value: number): boolean {
  if (Number.isInteger(value)) return value >= SMALLEST_INTEGER;
  return Math.abs(value) < LARGEST_FRACTION;
}

/** What amqplib makes of the two types that it has no value of JavaScript for. */
function isTyped({ [TYPE]: type, value }: MessagePropertyHeaders): boolean {
  if (type === 'timestamp') return Number.isInteger(value) && value >= 0 && value < LARGEST_TIME;
  if (type !== 'decimal' || typeof value !== 'object' || value === null) return false;
  const { places, digits } = value as { readonly places?: unknown; readonly digits?: unknown };
  return isUnsigned(places, 2 ** 8) && isUnsigned(digits, 2 ** 32);
}

function isUnsigned(value: unknown, below: number): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < below;
}
