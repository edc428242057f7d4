/**
 * A saga whose outcome finds no connection to PostgreSQL: none is free in the pool, or the server lets nobody in. Nothing was sent, so nothing was refused, and what was done is
 * neither undone nor left to a person; and a store that tells it as a refusal fails the same cases.
 */
import { Client, Pool } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { registerControls } from '../conformance/controls.ts';
import { createManualClock } from '../conformance/manual-clock.ts';
import { controlsOf, type PartCase } from '../resilience/testing/part-cases.ts';
import { defineSaga, type SagaStep, stepDone, type StepOutcome, stepWaits } from '../saga.ts';
import { postgresSql } from '../sql/postgres.ts';
import { changedStore } from '../testing/changed-saga-store.ts';
import { messageOn } from '../testing/sound-message.ts';
import { createSqlFixture, serverOf, type SqlFixture } from '../testing/sql-fixture.ts';
import { createSagaRunner } from './saga-runner.ts';
import type { SagaStore } from './saga-store.ts';
import { createSqlSagaStore } from './sql-saga-store.ts';

type Make = (store: SagaStore) => SagaStore;
/** Nobody gets a connection from the pool until the function that it gives is called. */
type Trouble = (pool: Pool) => Promise<() => Promise<unknown>>;

const LEASE_MS = 1_000;
/** Of the pool, ms: the one wait of these cases that is real. */
const PATIENCE_MS = 50;
const url = serverOf('DATABASE_URL');
let database: SqlFixture;

/** Impatient only while it is: how long a connection takes on a busy machine is no matter of this. */
const exhausted: Trouble = async (pool) => {
  const client = await pool.connect();
  pool.options.connectionTimeoutMillis = PATIENCE_MS;
  return async () => {
    pool.options.connectionTimeoutMillis = 0;
    client.release();
  };
};
/** A refusal of the login that has no sign of its own, as one of a password that is changed just now. */
const refusing: Trouble = async (pool) => {
  const client = await pool.connect();
  const name = new URL(database.address).pathname.slice(1);
  const server = new Client({ connectionString: url });
  await server.connect();
  await server.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
  client.release(true);
  return async () => {
    await server.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
    await server.end();
  };
};

/** The step is done, and its outcome stored at the second attempt: what is on record then, and how often it was done and undone. */
async function through(
  make: Make,
  trouble: Trouble,
  stepOf: (outcome: () => StepOutcome) => Omit<SagaStep<unknown>, 'name'>,
): Promise<unknown> {
  const pool = new Pool({ connectionString: database.address, max: 1 });
  pool.on('error', () => {});
  const clock = createManualClock();
  const done: string[] = [];
  const step = stepOf(() => {
    done.push('done');
    return stepDone('paid', { messages: [messageOn('paid')] });
  });
  const store = make(
    createSqlSagaStore({
      sql: postgresSql(pool),
      async appendToOutbox(tx, messages) {
        for (const { channel } of messages)
          await tx.run('INSERT INTO emitted (channel) VALUES (?)', [channel]);
      },
    }),
  );
  // At the first save of the outcome and for it alone: a runner that took it for a refusal would store another outcome next.
  let isTroubled = false;
  const troubled = changedStore(store, {
    async save(...given) {
      if (isTroubled || done.length === 0) return store.save(...given);
      isTroubled = true;
      const heal = await trouble(pool);
      try {
        return await store.save(...given);
      } finally {
        await heal();
      }
    },
  });
  const undoing = { onUnknown: 'compensate', compensate: () => void done.push('undone') } as const;
  const saga = defineSaga<unknown>({ name: 'test', steps: [{ name: 'pay', ...step, ...undoing }] });
  const runner = createSagaRunner({ saga, store: troubled, clock, leaseMs: LEASE_MS });
  try {
    await runner.begin('k', {});
    await runner.deliver('k', { messageId: 'm', type: 'x', data: null });
    for (let lease = 0; lease < 3; lease += 1) {
      while ((await runner.sweep()) > 0);
      clock.advance(LEASE_MS);
    }
    const state = (await runner.load('k'))?.state;
    const { rows } = await pool.query('SELECT channel FROM emitted');
    return { status: state?.status, result: state?.steps[0]?.result, emitted: rows.length, done };
  } finally {
    await pool.end();
  }
}
const stored = { status: 'completed', result: 'paid', emitted: 1, done: ['done', 'done'] };

const cases: readonly PartCase<Make>[] = [
  {
    name: 'the outcome of a step that finds no free connection is stored when there is one, and nothing is undone',
    async run(make) {
      expect(await through(make, exhausted, (run) => ({ run }))).toEqual(stored);
    },
  },
  {
    name: 'and so is an answer in the mail',
    async run(make) {
      const end = await through(make, exhausted, (onMessage) => ({ run: () => stepWaits(), onMessage }));
      expect(end).toEqual(stored);
    },
  },
  {
    name: 'and so is the outcome of one that the server does not let in',
    async run(make) {
      expect(await through(make, refusing, (run) => ({ run }))).toEqual(stored);
    },
  },
];

const real: Make = (store) => store;
const defects = {
  'that nothing was sent is told in the words of the client': {
    make: ((store) =>
      changedStore(store, {
        save: (record, changes) =>
          store.save(record, changes).catch((error: Error) => {
            throw error.cause;
          }),
      })) as Make,
    seenBy: ['finds no free connection', 'an answer in the mail', 'does not let in'],
  },
};

describe.skipIf(url === undefined)('sagas without a connection (needs DATABASE_URL)', () => {
  beforeAll(async () => {
    database = await createSqlFixture('postgres', url ?? '');
    await createSqlSagaStore({ sql: database.sql }).prepare();
    await database.sql.run('CREATE TABLE emitted (channel VARCHAR(1000) NOT NULL)');
  });
  afterAll(() => database.destroy());
  const onFresh = cases.map(({ name, run }) => ({
    name,
    async run(make: Make) {
      for (const table of ['saga_mail', 'sagas', 'saga_ends', 'emitted'])
        await database.sql.run(`DELETE FROM ${table}`);
      await run(make);
    },
  }));
  it.each(onFresh)('$name', async ({ run }) => {
    await expect(run(real)).resolves.toBeUndefined();
  });
  registerControls(it, 'sagas without a connection', controlsOf<Make>(onFresh, real, defects));
});
