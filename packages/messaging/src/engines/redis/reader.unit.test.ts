/** Over which connection something leaves beside the reads: the server does nothing for a connection that blocks, so an acknowledgement must never stand behind such a read. */
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../clock.ts';
import { Collector } from '../../conformance/fixture.ts';
import type { RedisClient } from '../../redis/client.ts';
import { type Entry, StreamReader } from './reader.ts';

interface Asked {
  readonly args: readonly string[];
  readonly answer: (reply: unknown) => void;
}

/** A connection whose answers the test gives. */
function connection(): RedisClient & { readonly asked: Collector<Asked> } {
  const asked = new Collector<Asked>();
  return {
    asked,
    send: (args) =>
      args[0] === 'CLIENT'
        ? Promise.resolve('7')
        : new Promise((answer) => {
            asked.add({ args, answer });
          }),
    listen: async () => {},
    another: async () => connection(),
    end: () => {},
  };
}

const entriesOf = (count: number): unknown => [
  ['s', Array.from({ length: count }, (_, n): Entry => [`${n}-0`, ['event', '{}']])],
];

function reading(room: number) {
  const blocking = connection();
  const client = connection();
  const taken = new Collector<readonly Entry[]>();
  const reader: StreamReader = new StreamReader({
    blocking,
    client,
    clock: systemClock,
    stream: 's',
    group: 'g',
    consumer: 'c',
    most: 2,
    take: (entries) => {
      if (entries.length > 0) taken.add(entries);
      reader.read(room);
    },
    failed: () => {},
  });
  reader.read(room);
  return { reader, blocking, client, taken };
}

const acknowledge = (reader: StreamReader): Promise<unknown> =>
  reader.beside((client) => client.send(['XACK']));

const isBlocking = ({ args }: Asked): boolean => args.includes('BLOCK');

describe('what leaves beside the reads of a stream', () => {
  it('takes the other connection while a read may block', async () => {
    const { reader, blocking, client } = reading(4);
    const [first] = (await blocking.asked.waitFor(1)) as [Asked];
    expect(isBlocking(first)).toBe(true);
    void acknowledge(reader);
    expect(client.asked.values.map(({ args }) => args[0])).toEqual(['XACK']);
  });

  it('goes with the reads while there is a backlog, of which none blocks', async () => {
    const { reader, blocking, client } = reading(4);
    const [first] = (await blocking.asked.waitFor(1)) as [Asked];
    first.answer(entriesOf(2));
    const [, second, third] = (await blocking.asked.waitFor(3)) as [Asked, Asked, Asked];
    expect([second, third].map(isBlocking)).toEqual([false, false]);
    void acknowledge(reader);
    expect(blocking.asked.values.at(-1)?.args).toEqual(['XACK']);
    expect(client.asked.values).toEqual([]);
  });

  it('takes the other connection again when fewer came than were asked for', async () => {
    const { reader, blocking, client } = reading(4);
    const [first] = (await blocking.asked.waitFor(1)) as [Asked];
    first.answer(entriesOf(2));
    const [, second, third] = (await blocking.asked.waitFor(3)) as [Asked, Asked, Asked];
    second.answer(null);
    third.answer(entriesOf(1));
    const [, , , fourth] = (await blocking.asked.waitFor(4)) as [Asked, Asked, Asked, Asked];
    expect(isBlocking(fourth)).toBe(true);
    void acknowledge(reader);
    expect(client.asked.values).toHaveLength(1);
  });

  it('has been answered when the reads have ended', async () => {
    const { reader, blocking } = reading(4);
    const [first] = (await blocking.asked.waitFor(1)) as [Asked];
    first.answer(entriesOf(2));
    const [, second, third] = (await blocking.asked.waitFor(3)) as [Asked, Asked, Asked];
    const acked = acknowledge(reader);
    let ended = false;
    const stopping = reader.stop().then(() => {
      ended = true;
    });
    second.answer(null);
    third.answer(null);
    await new Promise((resolve) => setImmediate(resolve));
    expect(ended).toBe(false);
    blocking.asked.values.at(-1)?.answer(0);
    await Promise.all([acked, stopping]);
    expect(ended).toBe(true);
  });
});
