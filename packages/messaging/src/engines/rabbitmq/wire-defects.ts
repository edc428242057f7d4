/** For tests: puts a mistake into the methods of amqplib's channels, as an engine might have made it, and takes it out again. */
import assert from 'node:assert/strict';
import { onBroker } from './conformance-fixture.ts';

export type Method = (...args: never[]) => unknown;

/** Says that a message was confirmed as soon as it is sent, whatever the broker says of it. */
export const confirmingAtOnce = (real: Method): Method =>
  function pushConfirmCallback(this: unknown, done: () => void) {
    queueMicrotask(done);
    return Reflect.apply(real, this, [() => {}]);
  } as Method;

/** Replaces a method of every channel of this process while `run` lasts. The broker, default that of `RABBITMQ_URL`, is asked for a channel to find the method on. */
export async function withDefect(
  method: string,
  instead: (real: Method) => Method,
  run: () => Promise<void>,
  url?: string,
): Promise<void> {
  const prototypes = await onBroker(async (channel) => {
    const found: Record<string, Method>[] = [];
    for (let one = Object.getPrototypeOf(channel) as Record<string, Method> | null; one; )
      one = Object.getPrototypeOf(found[found.push(one) - 1]) as Record<string, Method> | null;
    return found;
  }, url);
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
