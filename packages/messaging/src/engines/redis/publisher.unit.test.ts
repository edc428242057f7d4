import { expect, it } from 'vitest';
import type { OutgoingMessage } from '../../engine.ts';
import { Publisher } from './publisher.ts';
import type { StreamScripts } from './scripts.ts';

const KIB = 2 ** 10;

/** How many messages each script was given. Messages have a key, so that nothing is left away of the common way. */
function publisherOf(): { readonly publisher: Publisher; readonly scripts: number[] } {
  const scripts: number[] = [];
  const run = async (_name: string, args: readonly unknown[]): Promise<readonly number[]> => {
    scripts.push(args.length / 6);
    return Array.from({ length: args.length / 6 }, () => 1);
  };
  const settings = { maxMessageBytes: 2 ** 21, now: () => 0, isPlainChannel: () => false };
  return { publisher: new Publisher({ run } as unknown as StreamScripts, settings), scripts };
}

const outgoing = (count: number, bytes: number): OutgoingMessage[] =>
  Array.from({ length: count }, (_, index) => ({
    channel: 'orders',
    message: {
      id: `m${index}`,
      type: 'orders',
      version: 1,
      source: '/s',
      time: '',
      key: 'k',
      data: 'x'.repeat(bytes),
      headers: {},
    },
  }));

it('takes calls of one tick together up to 32 KiB a script, in their order', async () => {
  const { publisher, scripts } = publisherOf();
  await Promise.all(Array.from({ length: 10 }, () => publisher.publish(outgoing(1, 8 * KIB))));
  expect(scripts).toEqual([4, 4, 2]);
});

it('keeps what one call gives in one script, which is stored whole or not at all', async () => {
  const { publisher, scripts } = publisherOf();
  await Promise.all([publisher.publish(outgoing(100, KIB)), publisher.publish(outgoing(3, KIB))]);
  expect(scripts).toEqual([100, 3]);
});

it('cuts a call that would hold up the server: by its bytes, and by its number', async () => {
  const { publisher, scripts } = publisherOf();
  await publisher.publish(outgoing(5, 512 * KIB));
  await publisher.publish(outgoing(501, 1));
  expect(scripts).toEqual([2, 2, 1, 500, 1]);
});
