/** A setting that is no number is refused where it is given, by everything that takes one. */
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import { createBus } from './bus.ts';
import { createKeyedRelay } from './keyed-relay.ts';
import { inboxSchema, purgeInbox } from './inbox.ts';
import { createInProcessEngine } from './engines/embedded/engine.ts';
import { createLeader } from './leader.ts';
import { createLocks, type LockEngine } from './lock.ts';
import { createZookeeperLockEngine } from './locks/zookeeper.ts';
import { createManualClock } from './conformance/manual-clock.ts';
import { reconcile } from './reconciliation.ts';
import { createRelay } from './relay.ts';
import { createBulkhead } from './resilience/bulkhead.ts';
import { createCircuitBreaker } from './resilience/circuit-breaker.ts';
import { breakered, bulkheaded, rateCapped } from './resilience/middleware.ts';
import { createRateCap } from './resilience/rate-cap.ts';
import { defineSaga, stepDone } from './saga.ts';
import { createSagaRunner } from './sagas/saga-runner.ts';
import type { SagaStore } from './sagas/saga-store.ts';
import {
  COUNT,
  ENDLESS_MS,
  LIMIT,
  ORDINAL,
  refuseBadNumbers,
  SPAN_MS,
  TIME,
  WAIT_MS,
} from './sound-numbers.ts';
import { sqliteSql } from './sql/sqlite.ts';
import { sqliteStore } from './stores/sqlite/store.ts';
import { createCommandHandler } from './streams/decider.ts';
import { createProjection } from './streams/projection.ts';
import type { StreamStore } from './streams/stream-store.ts';

const { NaN: none, POSITIVE_INFINITY: endless } = Number;
const refused = expect.objectContaining({ code: 'DB_MSG_INVALID_OPTIONS' });

describe('a rule', () => {
  it.each([
    [COUNT, [1, 500], [0, 1.5, none, endless, '5', null, undefined]],
    [SPAN_MS, [0.5, 1], [0, -1, none, endless]],
    [WAIT_MS, [0, 1.5], [-1, none, endless, 1n]],
    [ENDLESS_MS, [0, 1.5, endless], [-1, none, -endless, '5']],
    [ORDINAL, [0, 7], [-1, 0.5, none, endless]],
    [TIME, [-1, 0, 1.5], [none, endless, 8.65e15]],
    [LIMIT, [0, 3, endless], [-1, 0.5, none, -endless]],
    [{ from: 0, to: 1, above: true as const }, [0.1, 1], [0, 1.1]],
  ])('%j', (rule, good, bad) => {
    for (const value of good) refuseBadNumbers('it', { value }, { value: rule });
    for (const value of bad)
      expect(() => refuseBadNumbers('it', { value }, { value: rule })).toThrow(refused);
  });

  it('is told with the name, the bounds and what was given', () => {
    expect(() =>
      refuseBadNumbers('a rate cap', { permits: none }, { permits: { from: 0, above: true } }),
    ).toThrow('a rate cap: permits is a number above 0, not NaN');
    expect(() => refuseBadNumbers('it', { n: 0.5 }, { n: LIMIT })).toThrow(
      'n is a whole number from 0, or Infinity, not 0.5',
    );
  });
});

const clock = createManualClock();
const db = new DatabaseSync(':memory:');
const sql = sqliteSql(db);
const cap = (given: object) => createRateCap({ clock, permits: 1, ...given });
const breaker = (given: object) => createCircuitBreaker({ clock, ...given });
const source = { readUnpublished: async () => [], markPublished: async () => {} };
const bus = { forward: async () => [] };
const relay = (given: object) => createRelay({ source, bus, clock, ...given });
const keyed = (given: object) => createKeyedRelay({ outbox: sqliteStore(db).outbox, bus, clock, ...given });
const step = { name: 'one', run: () => stepDone() };
const saga = (given: object) => defineSaga({ name: 'test', steps: [step], ...given });
const runner = (given: object) =>
  createSagaRunner({ saga: saga({}), store: {} as SagaStore, clock, ...given });
const locks = createLocks({ engine: {} as LockEngine, clock });
const leader = (given: object) =>
  createLeader({ locks, name: 'work', ttlMs: 1_000, onElected: () => {}, clock, ...given });
const handler = (given: object) =>
  createCommandHandler({
    streams: {} as StreamStore,
    decider: { decide: () => [], evolve: (state) => state, initialState: () => 0 },
    ...given,
  });
const projection = (given: object) =>
  createProjection({
    name: 'p',
    version: 1,
    streams: {} as StreamStore,
    sql,
    handle: async () => {},
    ...given,
  });

const makers: readonly (readonly [
  what: string,
  make: (given: object) => unknown,
  bad: Readonly<Record<string, readonly unknown[]>>,
])[] = [
  [
    'a rate cap',
    cap,
    {
      permits: [none, 0, -1, endless, undefined, '5'],
      perMs: [none, 0, -1, endless],
      burst: [none, 0, endless],
      maxWaitMs: [none, -1],
    },
  ],
  [
    'backOff of a rate cap',
    ({ ms }: { ms?: number }) => cap({}).backOff(ms as number),
    { ms: [none, -1, endless, undefined, '5'] },
  ],
  [
    'a bulkhead',
    (given) => createBulkhead({ concurrency: 1, ...given }),
    { concurrency: [none, 0, 1.5, endless], queue: [none, -1] },
  ],
  [
    'a breaker',
    breaker,
    {
      threshold: [none, 0, 2],
      minimumCalls: [none, 0, endless],
      windowMs: [none, 0, -1, endless],
      openMs: [none, 0, endless],
      maxOpenMs: [none, 1],
      probes: [none, 0, endless],
    },
  ],
  ['a layer with a cap', (given) => rateCapped(cap({}), given), { putOffMs: [none, -1, endless] }],
  [
    'a layer with a bulkhead',
    (given) => bulkheaded(createBulkhead({ concurrency: 1 }), given),
    { putOffMs: [none, -1, endless] },
  ],
  ['a layer with a breaker', (given) => breakered(breaker({}), given), { putOffMs: [none, -1, endless] }],
  [
    'a relay',
    relay,
    { batchSize: [none, 0, endless], sweepMs: [none, 0, -1, endless], backOffMs: [none, 0, endless] },
  ],
  [
    'a relay with keys',
    keyed,
    {
      batchSize: [none, 0],
      sweepMs: [none, 0],
      backOffMs: [none, 0],
      keepMs: [none, -1, -endless],
      undeclaredMs: [none, -1, -endless],
    },
  ],
  ['a projection', projection, { batchSize: [none, 0, 20_000], sweepMs: [none, 0], backOffMs: [none, 0] }],
  [
    'a command handler',
    handler,
    {
      attempts: [none, 0, endless],
      snapshot: [
        { name: 's', schemaVersion: 1, every: 0 },
        { name: 's', schemaVersion: none, every: 1 },
      ],
    },
  ],
  [
    'a saga',
    saga,
    {
      timeoutMs: [none, 0, endless],
      steps: [[{ ...step, timeoutMs: none }], [{ ...step, retries: { delays: [1, none] } }]],
    },
  ],
  [
    'a runner of sagas',
    runner,
    { leaseMs: [none, 0, endless], sweepMs: [none, 0], concurrency: [none, 0, 0.5] },
  ],
  [
    'locks',
    (given) => createLocks({ engine: {} as LockEngine, clock, ...given }),
    { retryMs: [none, 0, -1, endless] },
  ],
  [
    'locks on ZooKeeper',
    (given) => createZookeeperLockEngine({ servers: '127.0.0.1:1', ...given }),
    { sessionTimeoutMs: [none, 0], callTimeoutMs: [none, 0] },
  ],
  [
    'a leader',
    leader,
    { ttlMs: [none, 1, endless], restMs: [none, -1, endless], graceMs: [none, -1, -endless] },
  ],
  [
    'a purge of an inbox',
    ({ before = 0, limit = 1 }: { before?: number; limit?: number }) => purgeInbox(db, before, limit),
    { before: [none, endless, 8.65e15], limit: [none, 0, endless] },
  ],
];

describe.each(makers)('%s', (_, make, bad) => {
  it.each(Object.entries(bad))('refuses a bad %s: %j', (name, values) => {
    for (const value of values) expect(() => make({ [name]: value })).toThrow(refused);
  });

  it('takes its defaults', () => {
    db.exec(inboxSchema);
    expect(() => make({ ms: 1 })).not.toThrow();
  });
});

it.each<[what: string, make: (given: object) => unknown, name: string]>([
  ['a relay with keys keeps', keyed, 'keepMs'],
  ['a relay with keys waits for a channel', keyed, 'undeclaredMs'],
  ['a leader keeps its lock', leader, 'graceMs'],
])('%s for ever', (_, make, name) => {
  expect(() => make({ [name]: endless })).not.toThrow();
});

it('a stop, a purge, a list and a reconciliation reject', async () => {
  const running = createBus({ engine: createInProcessEngine(new DatabaseSync(':memory:')), source: '/t' });
  const store = sqliteStore(db);
  const window = { from: none };
  for (const call of [
    () => running.stop({ drainMs: none }),
    () => relay({}).stop({ drainMs: none }),
    () => keyed({}).stop({ drainMs: -1 }),
    () => leader({}).stop({ drainMs: none }),
    () => runner({}).list({}, none),
    () => runner({}).purge({ before: none }),
    () => runner({}).purge({ before: 8.65e15 }),
    () => runner({}).purge({ before: 1, limit: 0 }),
    () => store.purgeInbox({ subscription: 's', before: none }),
    () => store.purgeInbox({ subscription: 's', before: 8.65e15 }),
    () => store.outbox.parked({ limit: none }),
    () => store.outbox.parked({ limit: 1, after: 0.5 }),
    () => reconcile({ recorded: [], settled: [], clock, samples: none }),
    () => reconcile({ recorded: [], settled: [], clock, graceMs: endless }),
    () => reconcile({ recorded: [], settled: [], clock, window }),
  ])
    await expect(call()).rejects.toMatchObject({ code: 'DB_MSG_INVALID_OPTIONS' });
  await running.stop();
});
