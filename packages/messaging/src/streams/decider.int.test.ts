/** Command handlers by themselves: how a decider is called, and that nothing is stored of a command that is refused. */
import { DatabaseSync } from 'node:sqlite';
import { expect, it } from 'vitest';
import { sqliteSql } from '../sql/sqlite.ts';
import { createCommandHandler, type Decider } from './decider.ts';
import { createSqlStreamStore } from './sql-stream-store.ts';
import type { StreamEvent, StreamStore } from './stream-store.ts';

interface Paid extends StreamEvent {
  readonly type: 'paid';
  readonly data: { readonly amount: number };
}

/** Methods that need their object, as those of a class do. */
class Account implements Decider<number, number, Paid> {
  readonly calls: unknown[][] = [];
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  initialState(): number {
    return 0;
  }

  decide(amount: number): readonly Paid[] {
    return [
      { type: 'paid', data: { amount } },
      { type: 'paid', data: { amount } },
    ];
  }

  evolve(...given: [number, Paid]): number {
    this.calls.push(given);
    const [balance, { data }] = given;
    if (balance + data.amount > this.#limit) throw new RangeError('beyond the limit');
    return balance + data.amount;
  }
}

async function newStreams(): Promise<StreamStore> {
  const streams = createSqlStreamStore({ sql: sqliteSql(new DatabaseSync(':memory:')) });
  await streams.prepare();
  return streams;
}

it('a decider may be an object whose methods need it, and evolve is given the state and the event alone', async () => {
  const decider = new Account(100);
  const handler = createCommandHandler({ streams: await newStreams(), decider });
  expect(await handler.handle('a', 20)).toMatchObject({ state: 40, version: 2 });
  expect(decider.calls.map((given) => given.length)).toEqual([2, 2]);
  expect(await handler.load('a')).toEqual({ state: 40, version: 2 });
});

it('what evolve refuses is not stored', async () => {
  const streams = await newStreams();
  const handler = createCommandHandler({ streams, decider: new Account(100) });
  await expect(handler.handle('a', 60)).rejects.toThrow('beyond the limit');
  expect(await streams.read('a')).toEqual([]);
  expect(await handler.handle('a', 50)).toMatchObject({ state: 100, version: 2 });
});
