/** The contract of streams, as cases for every database. Each case uses streams of its own, so they may share one; what reads all streams begins where it stood. */
import assert from 'node:assert/strict';
import { systemClock } from '../clock.ts';
import { createIds } from '../ids.ts';
import type { SqlDatabase } from '../sql.ts';
import { createCommandHandler, type Decider } from '../streams/decider.ts';
import type { RecordedEvent, StreamEvent, StreamStore } from '../streams/stream-store.ts';
import { silentLog } from '../log.ts';
import { eventually, signal } from './fixture.ts';

export interface StreamFixture {
  readonly sql: SqlDatabase;
  readonly streams: StreamStore;
  /** The same streams over connections of their own. */
  readonly reader: StreamStore;
}

export interface StreamCase {
  readonly name: string;
  readonly run: (fixture: StreamFixture) => Promise<void>;
}

const ids = createIds(systemClock);
const newStream = (): string => `case-${ids.next()}`;
const noted = (n: number): StreamEvent => ({ type: 'noted', data: { n } });
const numbers = (from: number, to: number): StreamEvent[] =>
  Array.from({ length: to - from + 1 }, (_, index) => noted(from + index));
const dataOf = (events: readonly RecordedEvent[]): unknown[] =>
  events.map(({ data }) => (data as { n: number }).n);
const conflict = { code: 'DB_MSG_STREAM_CONFLICT' };

/** Everything after `from`, as far as it can be seen now. */
export async function readOn(
  streams: Pick<StreamStore, 'readAll'>,
  from: string | undefined,
  limit = 7,
): Promise<readonly RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  for (let at = from; ; at = events.at(-1)?.checkpoint) {
    const page = await streams.readAll(at, limit);
    events.push(...page);
    if (page.length < limit) return events;
  }
}

/** Where a reader stands that has seen everything: an event of its own is the mark. */
async function standing(streams: StreamStore): Promise<string | undefined> {
  const mark = newStream();
  await streams.append(mark, [noted(0)]);
  let at: string | undefined;
  await eventually(
    async () => {
      const events = await readOn(streams, at, 1_000);
      at = events.at(-1)?.checkpoint ?? at;
      return events.some(({ stream }) => stream === mark);
    },
    (seen) => seen,
    'the mark',
  );
  return at;
}

/** Follows until `count` events of these streams have come, and then looks once more. Its patience begins anew with each event: many writers need their time. */
async function follow(
  streams: Pick<StreamStore, 'readAll'>,
  from: string | undefined,
  own: (stream: string) => boolean,
  count: number,
): Promise<readonly RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  let at = from;
  const look = async (): Promise<number> => {
    const some = await readOn(streams, at);
    at = some.at(-1)?.checkpoint ?? at;
    events.push(...some.filter(({ stream }) => own(stream)));
    return events.length;
  };
  for (let seen = 0; seen < count; ) {
    const before = seen;
    seen = await eventually(look, (now) => now > before, `more than ${before} of ${count} events`);
  }
  await look();
  return events;
}

function assertOnceInOrder(events: readonly RecordedEvent[], count: number): void {
  assert.equal(events.length, count, 'every event once');
  assert.equal(new Set(events.map(({ id }) => id)).size, count, 'every event once');
  const seen = new Map<string, number>();
  for (const { stream, version } of events) {
    assert.equal(version, (seen.get(stream) ?? 0) + 1, `the order of ${stream}`);
    seen.set(stream, version);
  }
}

const versions: StreamCase = {
  name: 'append numbers from 1 without gaps and reads come back from a version, in order',
  async run({ streams }) {
    const stream = newStream();
    assert.deepEqual(await streams.read(stream), []);
    assert.deepEqual(await streams.append(stream, numbers(1, 3), { expectedVersion: 0 }), { version: 3 });
    assert.deepEqual(await streams.append(stream, numbers(4, 2_500), { expectedVersion: 3 }), {
      version: 2_500,
    });
    assert.deepEqual(await streams.append(stream, numbers(2_501, 2_501)), { version: 2_501 });
    const all = await streams.read(stream);
    assert.deepEqual(
      all.map(({ version }) => version),
      dataOf(all),
    );
    assert.equal(all.length, 2_501);
    assert.deepEqual(dataOf(await streams.read(stream, { fromVersion: 2_499, limit: 2 })), [2_499, 2_500]);
    const [first] = all;
    assert.deepEqual([first?.stream, first?.type], [stream, 'noted']);
  },
};

const concurrency: StreamCase = {
  name: 'of many appends at the same expected version one wins and the others change nothing',
  async run({ streams, reader }) {
    const stream = newStream();
    await assert.rejects(streams.append(stream, numbers(1, 1), { expectedVersion: 1 }), conflict);
    for (const expectedVersion of [0, 2]) {
      const results = await Promise.allSettled(
        Array.from({ length: 8 }, (_, n) =>
          (n % 2 === 0 ? streams : reader).append(stream, numbers(n, n + 1), { expectedVersion }),
        ),
      );
      const refused = results.flatMap((one) =>
        one.status === 'rejected' ? [(one.reason as { code: string }).code] : [],
      );
      assert.deepEqual(
        refused,
        Array.from({ length: 7 }, () => 'DB_MSG_STREAM_CONFLICT'),
      );
    }
    assert.equal((await streams.read(stream)).length, 4);
  },
};

const together: StreamCase = {
  name: "an append in the caller's transaction is there with its other changes, or not at all",
  async run({ sql, streams }) {
    const [kept, lost] = [newStream(), newStream()];
    const from = await standing(streams);
    await assert.rejects(
      sql.transaction(async (tx) => {
        await streams.appendIn(tx, lost, numbers(1, 2));
        throw new Error('changed its mind');
      }),
      /changed its mind/,
    );
    await sql.transaction(async (tx) => {
      await streams.appendIn(tx, kept, numbers(1, 2));
      await streams.appendIn(tx, kept, numbers(3, 3), { expectedVersion: 2 });
    });
    assert.deepEqual(await streams.read(lost), []);
    const events = await follow(streams, from, (stream) => stream === kept || stream === lost, 3);
    assertOnceInOrder(events, 3);
    assert.deepEqual(await streams.append(lost, numbers(1, 1), { expectedVersion: 0 }), { version: 1 });
  },
};

const crowd: StreamCase = {
  name: 'a reader beside many writers gets every event once, and each stream in its order',
  async run({ streams, reader }) {
    const own = [newStream(), newStream(), newStream(), newStream()];
    const from = await standing(streams);
    const writing = Promise.all(
      Array.from({ length: 8 }, async (_, writer) => {
        for (let round = 0; round < 15; round += 1)
          await (writer % 2 === 0 ? streams : reader).append(
            own[(writer + round) % own.length] as string,
            numbers(1, 1 + (round % 3)),
          );
      }),
    );
    const reading = follow(reader, from, (stream) => own.includes(stream), 240);
    const [events] = await Promise.all([reading, writing]);
    assertOnceInOrder(events, 240);
    // Beside slow writers hardly a page is full; one that comes later gets nothing but full ones.
    const later = await readOn(reader, from);
    assertOnceInOrder(
      later.filter(({ stream }) => own.includes(stream)),
      240,
    );
  },
};

/** `readAll` is an argument, so that a reader by number alone can be the control. */
export async function lateCommit(
  { sql, streams }: StreamFixture,
  reader: Pick<StreamStore, 'readAll'>,
): Promise<readonly RecordedEvent[]> {
  const [early, late] = [newStream(), newStream()];
  const from = await standing(streams);
  const [drawn, mayCommit] = [signal(), signal()];
  const slow = sql.transaction(async (tx) => {
    await streams.appendIn(tx, late, numbers(1, 1));
    drawn.fire();
    await mayCommit.fired;
  });
  await drawn.fired;
  // Behind a lock on some databases; on others it commits at once, with a higher number than the open one.
  const quick = streams.append(early, numbers(1, 2));
  if (sql.dialect === 'postgres') await quick;
  const before = await readOn(reader, from);
  mayCommit.fire();
  await Promise.all([slow, quick]);
  const own = (stream: string): boolean => stream === early || stream === late;
  const seen = before.filter(({ stream }) => own(stream));
  const at = before.at(-1)?.checkpoint ?? from;
  const left = 3 - seen.length;
  try {
    return [...seen, ...(await follow(reader, at, own, left))];
  } catch {
    return seen;
  }
}

const lateCommits: StreamCase = {
  name: 'an event that commits after one with a higher number is not skipped',
  async run(fixture) {
    assertOnceInOrder(await lateCommit(fixture, fixture.reader), 3);
  },
};

const checkpoints: StreamCase = {
  name: 'a reader goes on behind any checkpoint, and refuses what is none',
  async run({ streams }) {
    const stream = newStream();
    const from = await standing(streams);
    await streams.append(stream, numbers(1, 10));
    const events = await follow(streams, from, (one) => one === stream, 10);
    for (const { checkpoint, version } of events) {
      const rest = (await readOn(streams, checkpoint)).filter((one) => one.stream === stream);
      assert.deepEqual(
        rest.map((one) => one.version),
        events.slice(version).map((one) => one.version),
      );
    }
    for (const wrong of ['', 'x', '1;2', '-1'])
      await assert.rejects(streams.readAll(wrong, 1), { code: 'DB_MSG_INVALID_OPTIONS' });
  },
};

type Note = StreamEvent<'noted', { n: number }>;
interface Sum {
  readonly sum: number;
}
let evolved = 0;
const adding: Decider<Sum, number, Note> = {
  initialState: () => ({ sum: 0 }),
  decide: (n) => (n === 0 ? [] : [{ type: 'noted', data: { n } }]),
  evolve(state, { data }) {
    evolved += 1;
    return { sum: state.sum + data.n };
  },
};

const snapshots: StreamCase = {
  name: 'a snapshot shortens the way to the state; one of another schema version is ignored',
  async run({ streams }) {
    const stream = newStream();
    const handler = (schemaVersion: number) =>
      createCommandHandler({
        streams,
        decider: adding,
        snapshot: { name: 'sum', schemaVersion, every: 10 },
      });
    for (let n = 1; n <= 25; n += 1) await handler(1).handle(stream, 1);
    assert.equal((await streams.loadSnapshot(stream, 'sum', 1))?.version, 20);
    evolved = 0;
    assert.deepEqual(await handler(1).load(stream), { state: { sum: 25 }, version: 25 });
    assert.equal(evolved, 5);
    // What an older schema left would be wrong in the new one.
    await streams.saveSnapshot(stream, 'sum', { schemaVersion: 1, version: 20, state: { sum: -1_000 } });
    evolved = 0;
    assert.deepEqual(await handler(2).load(stream), { state: { sum: 25 }, version: 25 });
    assert.equal(evolved, 25);
    for (let n = 1; n <= 5; n += 1) await handler(2).handle(stream, 1);
    assert.equal(await streams.loadSnapshot(stream, 'sum', 1), undefined);
    assert.deepEqual(await handler(2).load(stream), { state: { sum: 30 }, version: 30 });
  },
};

const aheadSnapshot: StreamCase = {
  name: 'a snapshot that is ahead of its stream, as after a restore, is told and replaced by what the events say',
  async run({ streams }) {
    const stream = newStream();
    const told: unknown[] = [];
    const handler = createCommandHandler({
      streams,
      decider: adding,
      snapshot: { name: 'sum', schemaVersion: 1, every: 10 },
      log: { ...silentLog, warn: (fields) => told.push(fields.ahead) },
    });
    for (let n = 1; n <= 3; n += 1) await handler.handle(stream, 1);
    await streams.saveSnapshot(stream, 'sum', { schemaVersion: 1, version: 7, state: { sum: 1_000 } });
    assert.deepEqual(await handler.load(stream), { state: { sum: 3 }, version: 3 });
    assert.deepEqual(told, [7]);
    // Past the version of the old snapshot, by somebody who saves none.
    await streams.append(stream, numbers(1, 5));
    assert.deepEqual(await handler.load(stream), { state: { sum: 18 }, version: 8 });
    assert.equal((await handler.handle(stream, 1)).version, 9);
    const empty = newStream();
    await streams.saveSnapshot(empty, 'sum', { schemaVersion: 1, version: 7, state: { sum: 1_000 } });
    assert.deepEqual((await handler.handle(empty, 1)).state, { sum: 1 });
    assert.deepEqual(told, [7, 7]);
  },
};

const deciding: StreamCase = {
  name: 'commands at once decide one after another; a caller who says what he saw is refused when it has changed',
  async run({ streams }) {
    const stream = newStream();
    const handler = createCommandHandler({ streams, decider: adding, attempts: 50 });
    await Promise.all(Array.from({ length: 10 }, () => handler.handle(stream, 1)));
    assert.deepEqual(await handler.load(stream), { state: { sum: 10 }, version: 10 });
    assert.deepEqual((await handler.handle(stream, 0)).events, []);
    await assert.rejects(handler.handle(stream, 1, { expectedVersion: 9 }), conflict);
    const handled = await handler.handle(stream, 5, { expectedVersion: 10 });
    assert.deepEqual([handled.version, handled.state.sum], [11, 15]);
  },
};

export const streamCases: readonly StreamCase[] = [
  versions,
  concurrency,
  together,
  checkpoints,
  lateCommits,
  crowd,
  snapshots,
  aheadSnapshot,
  deciding,
];
