/**
 * What a contract that answers later is asked about: a copy of what travels, made before it is asked. Until its answer the caller's object is the caller's: had it
 * changed meanwhile, what was checked would not be what is sent. A contract that answers at once pays nothing for it.
 */
import type { Check } from './contract.ts';

/** Contracts that have answered with a promise: from then on the copy is made before they are asked, and the first time they are asked twice. */
const later = new WeakSet<Check>();

export function answersLater(check: Check): boolean {
  return later.has(check);
}

export function noteAnswersLater(check: Check): void {
  later.add(check);
}

/** The data as it will be read again on the other side of JSON; bytes stay bytes. Throws what JSON throws. */
export function copyOfJson(data: unknown): unknown {
  if (data instanceof Uint8Array) return Buffer.from(data);
  const text = JSON.stringify(data) as string | undefined;
  return text === undefined ? undefined : JSON.parse(text);
}
