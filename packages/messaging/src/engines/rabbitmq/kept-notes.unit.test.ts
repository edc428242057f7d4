/** The notes of a partition: only what was handed out counts as a crash, and none stays that has served. */
import { EventEmitter } from 'node:events';
import type { ChannelModel, ConsumeMessage } from 'amqplib';
import { describe, expect, it } from 'vitest';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { settledInTime } from '../../testing/settled-in-time.ts';
import type { Clock } from '../../clock.ts';
import { KeptNotes } from './kept-notes.ts';
import { encodeNotes } from './notes.ts';
import { settled } from './testing/fake-model.ts';
import type { Parcel } from './wire.ts';

type Take = (message: ConsumeMessage) => void;

/** The queue of notes: gives all that is not acknowledged to the first of its consumers, and when that one has gone to the next, as the broker does. */
class FakeQueue {
  readonly stored = new Map<number, Parcel>();
  readonly channels: { close(): Promise<void> }[] = [];
  /** The broker ends a channel together with its answer. */
  endsAtOnce = false;
  readonly #line: Take[] = [];
  #next = 1;
  #mark = 1;

  open(clock: Clock = createManualClock()): KeptNotes {
    return new KeptNotes({
      clock,
      queue: 'notes',
      model: { createChannel: async () => this.#channel() } as unknown as ChannelModel,
      write: async (notes, by) => {
        const tag = this.#next++;
        this.stored.set(tag, encodeNotes(notes, by));
        this.#give(tag);
      },
      nextMark: () => `mark ${this.#mark++}`,
      onMissing: () => {},
    });
  }

  #channel(): unknown {
    let mine: Take | undefined;
    const channel = Object.assign(new EventEmitter(), {
      prefetch: async () => {},
      consume: async (_queue: string, take: Take) => {
        mine = take;
        this.#line.push(take);
        if (this.#line.length === 1) this.#giveAll();
        if (this.endsAtOnce) channel.emit('close');
        return { consumerTag: 'one' };
      },
      ack: ({ fields }: ConsumeMessage) => void this.stored.delete(fields.deliveryTag),
      close: async () => {
        const place = mine ? this.#line.indexOf(mine) : -1;
        if (place >= 0) this.#line.splice(place, 1);
        channel.emit('close');
        if (place === 0) this.#giveAll();
      },
    });
    this.channels.push(channel);
    return channel;
  }

  #giveAll(): void {
    for (const tag of this.stored.keys()) this.#give(tag);
  }

  #give(tag: number): void {
    const { content, options } = this.stored.get(tag) as Parcel;
    const [first] = this.#line;
    first?.({ content, fields: { deliveryTag: tag }, properties: options } as unknown as ConsumeMessage);
  }
}

it('what a killed process merely had is no suspect, however often; what it had handed out is', async () => {
  const queue = new FakeQueue();
  for (const count of [1, 2, 3, 4]) {
    const notes = queue.open();
    await notes.read();
    expect(notes.about('lent', count).crashes).toBe(1);
    expect(notes.about('poison', count).crashes).toBe(Math.max(1, count - 1));
    await notes.write([{ copy: 'poison', count, out: true }]);
    await notes.close();
  }
});

it('what was put off or given back is no crash', async () => {
  const queue = new FakeQueue();
  const notes = queue.open();
  const waits = { state: 's', dueAt: 7 };
  await notes.write([
    { copy: 'put off', count: 0, waits },
    { copy: 'given back', count: 0 },
  ]);
  await notes.read();
  expect(notes.about('put off', 1)).toEqual({ crashes: 0, waits });
  expect(notes.about('given back', 1)).toEqual({ crashes: 0, waits: undefined });
  await notes.write([{ copy: 'put off', count: 0, out: true }]);
  await notes.read();
  expect(notes.about('put off', 1).crashes).toBe(1);
});

it('notes go when their copies are settled, superseded or not there', async () => {
  const queue = new FakeQueue();
  const notes = queue.open();
  for (const dueAt of [1, 2, 3]) await notes.write([{ copy: 'a', count: 1, waits: { state: '', dueAt } }]);
  await notes.write([
    { copy: 'a', count: 1, out: true },
    { copy: 'b', count: 1, out: true },
  ]);
  await notes.write([{ copy: 'of a former reader', count: 0 }]);
  expect(queue.stored.size).toBe(3);
  notes.onlyThese(new Set(['a', 'b']));
  expect(queue.stored.size).toBe(2);
  notes.forget('a');
  expect(queue.stored.size).toBe(1);
  notes.forget('b');
  expect(queue.stored.size).toBe(0);
});

it('however often a message is tried in its place, its notes stay as few, and say the same to who reads them next', async () => {
  const queue = new FakeQueue();
  const notes = queue.open();
  await notes.write([{ copy: 'a', count: 0, out: true }]);
  for (let dueAt = 1; dueAt <= 20; dueAt += 1) {
    await notes.write([{ copy: 'a', count: 1, waits: { state: 's', dueAt } }]);
    expect(queue.stored.size).toBe(2);
    await notes.write([{ copy: 'a', count: 1, out: true }]);
    expect(queue.stored.size).toBe(3);
  }
  const expected = { crashes: 2, waits: { state: 's', dueAt: 20 } };
  expect(notes.about('a', 2)).toEqual(expected);
  await notes.close();
  const next = queue.open();
  await next.read();
  expect(next.about('a', 2)).toEqual(expected);
  next.forget('a');
  expect(queue.stored.size).toBe(0);
});

it('a message of notes stays while it has the last word on one copy, though another was noted anew', async () => {
  const queue = new FakeQueue();
  const notes = queue.open();
  await notes.write([
    { copy: 'a', count: 1, out: true },
    { copy: 'b', count: 1, out: true },
  ]);
  await notes.write([{ copy: 'a', count: 1 }]);
  expect(queue.stored.size).toBe(2);
  expect([notes.about('a', 2).crashes, notes.about('b', 2).crashes]).toEqual([1, 1]);
  await notes.write([{ copy: 'b', count: 1 }]);
  expect(queue.stored.size).toBe(2);
  notes.forget('a');
  expect(queue.stored.size).toBe(1);
});

it('a channel that was given up without an answer takes nothing from the one in its place when it closes', async () => {
  const clock = createManualClock();
  const channels: EventEmitter[] = [];
  const createChannel = async (): Promise<EventEmitter> => {
    const isFirst = channels.length === 0;
    const channel = Object.assign(new EventEmitter(), {
      prefetch: async () => {},
      consume: () => (isFirst ? new Promise(() => {}) : Promise.resolve({ consumerTag: 'one' })),
      close: async () => {},
    });
    channels.push(channel);
    return channel;
  };
  const model = { createChannel } as unknown as ChannelModel;
  const notes = new KeptNotes({
    clock,
    queue: 'notes',
    model,
    write: async () => {},
    nextMark: () => 'mark',
    onMissing: () => {},
  });
  const note = (): Promise<void> => notes.write([{ copy: 'a', count: 1, out: true }]);
  await expect(settledInTime(clock, note())).rejects.toMatchObject({ code: 'DB_MSG_ENGINE_UNREACHABLE' });
  await note();
  channels[0]?.emit('close');
  await note();
  expect(channels).toHaveLength(2);
});

describe('a reader that still has the notes of a partition when the next one has the partition', () => {
  const waits = { state: 's', dueAt: 7 };

  it('takes neither its mark nor what it notes: both are there when the former one has gone', async () => {
    const queue = new FakeQueue();
    const former = queue.open();
    await former.write([{ copy: 'a', count: 1, out: true }]);
    // From now on it removes what says nothing of the messages it has.
    former.onlyThese(new Set(['a']));
    const next = queue.open();
    const reading = next.read();
    await next.write([{ copy: 'b', count: 0, waits }]);
    await settled();
    await former.close();
    await reading;
    expect(next.about('b', 1).waits).toEqual(waits);
    expect(next.about('a', 2).crashes).toBe(1);
  });

  it('takes what was written before its own first message, however late that comes', async () => {
    const queue = new FakeQueue();
    await queue.open().write([{ copy: 'a', count: 0 }]);
    const notes = queue.open();
    notes.onlyThese(new Set());
    await notes.write([{ copy: 'b', count: 0, out: true }]);
    notes.forget('b');
    expect(queue.stored.size).toBe(0);
  });

  it('is waited for so long and no longer: the next one says so, and asks again', async () => {
    const queue = new FakeQueue();
    const former = queue.open();
    await former.write([{ copy: 'a', count: 1, out: true }]);
    const clock = createManualClock();
    const next = queue.open(clock);
    await expect(settledInTime(clock, next.read())).rejects.toMatchObject({
      code: 'DB_MSG_ENGINE_UNREACHABLE',
    });
    await former.close();
    await next.read();
    expect(next.about('a', 2).crashes).toBe(1);
  });

  it('and whose channel the broker ended in between knows again what was noted before it', async () => {
    const queue = new FakeQueue();
    const former = queue.open();
    await former.write([{ copy: 'a', count: 0, waits }]);
    await former.close();
    const notes = queue.open();
    await notes.read();
    const { edition } = notes;
    await queue.channels[1]?.close();
    // Whoever has read must read again.
    expect(notes.edition).not.toBe(edition);
    expect(notes.about('a', 1).waits).toBeUndefined();
    await notes.read();
    expect(notes.about('a', 1).waits).toEqual(waits);
  });
});

it('a mark that came too late is removed all the same', async () => {
  const queue = new FakeQueue();
  const former = queue.open();
  await former.write([{ copy: 'a', count: 1, out: true }]);
  const clock = createManualClock();
  const next = queue.open(clock);
  await expect(settledInTime(clock, next.read())).rejects.toMatchObject({ retryable: true });
  await former.close();
  await next.read();
  next.forget('a');
  expect(queue.stored.size).toBe(0);
});

it('a channel that ends as soon as it has begun is no channel: nothing is waited for on it', async () => {
  const queue = new FakeQueue();
  queue.endsAtOnce = true;
  const notes = queue.open();
  await expect(notes.read()).rejects.toMatchObject({ code: 'DB_MSG_ENGINE_UNREACHABLE' });
  queue.endsAtOnce = false;
  await notes.read();
});
