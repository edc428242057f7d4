import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { settingsOf } from './options.ts';
import { ParcelProducer } from './produce-request.ts';
import { type Item, Publisher } from './publisher.ts';

/** What the broker would be sent, request by request: how many messages each has. */
let requests: number[];
/** Answers one of them. */
let answers: (() => void)[];

beforeEach(() => {
  [requests, answers] = [[], []];
  vi.spyOn(ParcelProducer.prototype, 'send').mockImplementation(({ messages }) => {
    requests.push(messages.length);
    return new Promise((resolve) => answers.push(() => resolve({ offsets: [] } as never)));
  });
});
afterEach(() => void vi.restoreAllMocks());

const items = (count: number, bytes = 10): Item[] =>
  Array.from({ length: count }, () => ({
    partition: 0,
    parcel: { key: undefined, value: Buffer.alloc(bytes), headers: [] },
  }));

function publisherWith(lingerMs?: number) {
  const clock = createManualClock();
  const settings = settingsOf({ url: 'kafka://127.0.0.1:1', ...(lingerMs !== undefined && { lingerMs }) });
  return { clock, publisher: new Publisher(settings, clock, 2 ** 20) };
}

async function turns(): Promise<void> {
  for (let count = 0; count < 5; count += 1) await new Promise((resolve) => setImmediate(resolve));
}

it('without a linger what is published in one turn goes together, at once', async () => {
  const { publisher } = publisherWith();
  void publisher.send('t', items(1), { lingers: true });
  void publisher.send('t', items(2), { lingers: true });
  await turns();
  expect(requests).toEqual([3]);
});

it('with one it waits for more, counted from the first', async () => {
  const { clock, publisher } = publisherWith(50);
  void publisher.send('t', items(1), { lingers: true });
  await turns();
  clock.advance(49);
  void publisher.send('t', items(2), { lingers: true });
  await turns();
  expect(requests).toEqual([]);
  clock.advance(1);
  await turns();
  expect(requests).toEqual([3]);
});

it('a full request waits for no more, and what did not fit no longer than the first would have', async () => {
  const { clock, publisher } = publisherWith(50);
  void publisher.send('t', items(1, 500_000), { lingers: true });
  await turns();
  void publisher.send('t', items(1, 500_000), { lingers: true });
  await turns();
  expect(requests).toEqual([1]);
  answers[0]?.();
  await turns();
  expect(requests).toEqual([1]);
  clock.advance(50);
  await turns();
  expect(requests).toEqual([1, 1]);
});

it('what waited behind a request for as long goes right behind it, what came later waits', async () => {
  const { clock, publisher } = publisherWith(50);
  void publisher.send('t', items(1), { lingers: true });
  await turns();
  clock.advance(50);
  await turns();
  void publisher.send('t', items(2), { lingers: true });
  clock.advance(50);
  answers[0]?.();
  await turns();
  expect(requests).toEqual([1, 2]);
  void publisher.send('t', items(3), { lingers: true });
  clock.advance(20);
  answers[1]?.();
  await turns();
  expect(requests).toEqual([1, 2]);
  clock.advance(30);
  await turns();
  expect(requests).toEqual([1, 2, 3]);
});

it('what the engine writes itself waits for nobody, and takes with it what lingers', async () => {
  const { publisher } = publisherWith(50);
  void publisher.send('t', items(1), { lingers: true });
  await turns();
  void publisher.send('t', items(2));
  await turns();
  expect(requests).toEqual([3]);
});

it('what lingers when it is closed is sent before the client is told to end', async () => {
  const { publisher } = publisherWith(50);
  const order: string[] = [];
  const close = (): Promise<void> => {
    order.push(`closed behind ${requests.length}`);
    return Promise.resolve();
  };
  // The client's other form takes a callback, and is the one that its type speaks of.
  vi.spyOn(ParcelProducer.prototype, 'close').mockImplementation(close as never);
  void publisher.send('t', items(1), { lingers: true });
  await turns();
  const closing = publisher.close();
  await turns();
  await closing;
  expect(order).toEqual(['closed behind 1']);
});
