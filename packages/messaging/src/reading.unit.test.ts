/** Upcasters answer at once: one that gives a promise is a fault of the message, whose rejection ends nothing. */
import Type from 'typebox';
import { expect, it } from 'vitest';
import { defineChannel } from './channel.ts';
import type { Message } from './message.ts';
import { readMessage } from './reading.ts';

/** All of it optional, so that a promise, an object without properties of its own, would fit. */
const schema = Type.Object({ n: Type.Optional(Type.Number()) });
const old: Message = { id: 'm', type: 'a', version: 1, source: '/t', time: '', data: { n: 1 }, headers: {} };
const read = (upcaster: (data: never) => unknown): unknown =>
  readMessage(defineChannel({ name: 'a', version: 2, schema, upcasters: { 1: upcaster as never } }), old);
const words = 'the upcaster from version 1 gave a promise: let it return the data itself';

it.each<[name: string, upcaster: () => unknown]>([
  ['a promise', async () => ({ n: 2 })],
  [
    'a thenable',
    () => Object.fromEntries([['then', (resolve: (data: unknown) => void) => resolve({ n: 2 })]]),
  ],
])('%s of an upcaster is no data', (_, upcaster) => {
  expect(read(upcaster)).toEqual({ fault: expect.stringContaining(words) });
});

it('an upcaster that rejects is the same fault, and nothing is left unhandled', async () => {
  const unhandled: unknown[] = [];
  const hear = (reason: unknown): void => void unhandled.push(reason);
  process.on('unhandledRejection', hear);
  try {
    expect(read(() => Promise.reject(new Error('away')))).toEqual({ fault: expect.stringContaining(words) });
    // Node tells of unhandled rejections once the microtasks are done, before the next turn of the loop.
    await new Promise(setImmediate);
  } finally {
    process.off('unhandledRejection', hear);
  }
  expect(unhandled).toEqual([]);
});

it('what an upcaster returns at once is read (the control)', () => {
  expect(read(({ n }: { n: number }) => ({ n: n + 1 }))).toMatchObject({
    message: { version: 2, data: { n: 2 } },
  });
});
