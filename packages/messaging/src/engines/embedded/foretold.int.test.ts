/** What is handed out is told ahead of its commit, and handed over only after it. */
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import { encodeCloudEvent } from '../../cloud-event.ts';
import type { Delivery } from '../../engine.ts';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { EmbeddedConnection } from './connection.ts';
import { Store } from './store.ts';
import type { Operation, TurnReply } from './turn.ts';

type HandOuts = TurnReply['handOuts'];

const topology = {
  channels: [
    {
      name: 'c',
      order: 'none',
      onFailure: 'skip',
      priorityLevels: 1,
      ephemeral: false,
      routing: 'fanout',
      keepMs: undefined,
    },
  ],
  subscriptions: [{ channel: 'c', name: 's' }],
} as const;

const bodyOf = (id: string): string =>
  encodeCloudEvent({ id, type: 'c', version: 1, source: '/test', time: '', data: { id }, headers: {} });

describe('a store that foretells', () => {
  const row = { channel: 'c', level: 0, key: null, expiresAt: null, dueAt: null, body: bodyOf('1') };
  const consumer = { op: 'subscribe', consumer: 1, channel: 'c', subscription: 's', prefetch: 2, leaseMs: 9 };
  const opened = (): { readonly db: DatabaseSync; readonly store: Store } => {
    const db = new DatabaseSync(':memory:');
    const store = new Store(db, { durable: false, keepUnsubscribedMs: 1 });
    store.run({
      now: 1,
      monotonic: 1,
      operations: [{ op: 'declare', topology: topology as never }, consumer as Operation],
    });
    return { db, store };
  };

  it('tells the lists of the answer while the turn is open', () => {
    const { db, store } = opened();
    const told: { readonly handOuts: HandOuts; readonly isOpen: boolean }[] = [];
    const reply = store.run({ now: 2, monotonic: 2, operations: [{ op: 'publish', rows: [row] }] }, (it) =>
      told.push({ handOuts: it, isOpen: db.isTransaction }),
    );
    expect(told).toEqual([{ handOuts: reply.handOuts, isOpen: true }]);
    expect(told[0]?.handOuts[0]?.items).toBe(reply.handOuts[0]?.items);
  });

  it('tells nothing of a try that was undone', () => {
    const { store } = opened();
    const told: HandOuts[] = [];
    const unfit = { ...row, level: 0, body: undefined as never };
    store.run(
      {
        now: 2,
        monotonic: 2,
        operations: [
          { op: 'publish', rows: [row] },
          { op: 'publish', rows: [unfit] },
        ],
      },
      (it) => told.push(it),
    );
    expect(told.map(([first]) => first?.items.length)).toEqual([1]);
  });
});

describe('a connection whose writer foretells', () => {
  it('hands over when the answer comes, and only what it brings', async () => {
    const { connection, writer } = connected();
    const got: (readonly Delivery[])[] = [];
    await connection.subscribe(
      { channel: 'c', subscription: 's', prefetch: 2, leaseMs: 1_000 },
      (deliveries) => got.push(deliveries),
    );
    const undone = handOutsOf(1, 'undone');
    writer.foretell(undone);
    await turn(connection, writer, []);
    expect(got).toEqual([]);
    const kept = handOutsOf(2, 'kept');
    writer.foretell(kept);
    expect(got).toEqual([]);
    await turn(connection, writer, kept);
    expect(got.flat().map(({ token, message }) => [token, message?.id])).toEqual([[2, 'kept']]);
  });

  it('reads what comes without having been foretold', async () => {
    const { connection, writer } = connected();
    const got: Delivery[] = [];
    await connection.subscribe(
      { channel: 'c', subscription: 's', prefetch: 2, leaseMs: 1_000 },
      (deliveries) => got.push(...deliveries),
    );
    writer.foretell(handOutsOf(1, 'another'));
    await turn(connection, writer, handOutsOf(1, 'this'));
    expect(got.map(({ message }) => message?.id)).toEqual(['this']);
  });

  const handOutsOf = (token: number, id: string): HandOuts => [
    { consumer: 1, items: [{ token, body: bodyOf(id), state: null, abandoned: 0 }] },
  ];

  async function turn(
    connection: EmbeddedConnection,
    writer: ReturnType<typeof connected>['writer'],
    handOuts: HandOuts,
  ): Promise<void> {
    writer.next = handOuts;
    await connection.publishRaw('c', '{}');
  }

  function connected(): {
    readonly connection: EmbeddedConnection;
    readonly writer: { next: HandOuts; foretell: (handOuts: HandOuts) => void };
  } {
    const writer: ReturnType<typeof connected>['writer'] = { next: [], foretell: () => {} };
    const connection = new EmbeddedConnection(
      {
        durability: 'disk',
        async run({ operations }) {
          const handOuts = writer.next;
          writer.next = [];
          return {
            results: operations.map(() => ({ value: undefined })),
            handOuts,
            nextDueAt: undefined,
            nextLeaseEnd: undefined,
          };
        },
        foretell: (read) => {
          writer.foretell = read;
        },
        close: async () => {},
      },
      { clock: createManualClock(), onFatal: () => {} },
      1_000_000,
    );
    return { connection, writer };
  }
});
