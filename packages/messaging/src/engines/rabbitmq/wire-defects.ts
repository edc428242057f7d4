/** For tests: puts a mistake into the methods of amqplib's channels, as an engine might have made it, and takes it out again. */
import assert from 'node:assert/strict';
import { onBroker } from './conformance-fixture.ts';

export type Method = (...args: never[]) => unknown;

/** Replaces a method of every channel of this process while `run` lasts. */
export async function withDefect(
  method: string,
  instead: (real: Method) => Method,
  run: () => Promise<void>,
): Promise<void> {
  const prototypes = await onBroker(async (channel) => {
    const found: Record<string, Method>[] = [];
    for (let one = Object.getPrototypeOf(channel) as Record<string, Method> | null; one; )
      one = Object.getPrototypeOf(found[found.push(one) - 1]) as Record<string, Method> | null;
    return found;
  });
  const owners = prototypes.filter((one) => Object.hasOwn(one, method));
  assert.ok(owners.length > 0, `amqplib has no method "${method}"`);
  const real = owners.map((one) => one[method] as Method);
  for (const [index, owner] of owners.entries()) owner[method] = instead(real[index] as Method);
  try {
    await run();
  } finally {
    for (const [index, owner] of owners.entries()) owner[method] = real[index] as Method;
  }
}
