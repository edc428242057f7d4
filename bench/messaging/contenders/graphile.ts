/**
 * graphile-worker on a database of its own, dropped afterwards. Adding is `addJobs` with what is asked in one turn, because
 * `addJob` for each waits for one commit after the other (its notification takes a lock): 385 a second were seen, with 20 connections; the worker has the same concurrency and the
 * options that its documentation gives for throughput: a local queue of 500 and completions in batches.
 */
import { Logger, makeWorkerUtils, type Runner, run } from 'graphile-worker';
import pg from 'pg';
import {
  attributesOf,
  type Contender,
  gathered,
  type OpenContender,
  type OrderPlaced,
  orderOf,
  slice,
} from '../contender.ts';

const connections = 20;
const jobsPerFill = 500;
const localQueueSize = 500;

/** A line for each job would be measured too. */
const silent = new Logger(() => () => {});

async function onServer(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

export const openGraphile: OpenContender = async ({ url, prefix, concurrency }) => {
  const database = prefix.replaceAll(/[^a-z0-9]/g, '_');
  await onServer(url, `CREATE DATABASE ${database}`);
  const own = new URL(url);
  own.pathname = `/${database}`;
  const pgPool = new pg.Pool({ connectionString: own.toString(), max: connections });
  // Without listeners the end of the database would end the process.
  pgPool.on('error', () => {});
  pgPool.on('connect', (client) => client.on('error', () => {}));
  const utils = await makeWorkerUtils({ pgPool, logger: silent });
  await utils.migrate();
  const payloadOf = (n: number) => ({ ...attributesOf(), data: orderOf(n) });
  let runner: Runner | undefined;
  const store = (numbers: readonly number[]): Promise<unknown> =>
    utils.addJobs(numbers.map((n) => ({ identifier: 'order', payload: payloadOf(n) })));
  const contender: Contender = {
    publish: gathered(store),
    async fill(count) {
      for (let from = 0; from < count; from += jobsPerFill) await store(slice(from, count, jobsPerFill));
    },
    async consume(handled) {
      runner = await run({
        pgPool,
        noHandleSignals: true,
        logger: silent,
        crontab: '',
        taskList: {
          order: async (payload) => handled((payload as { readonly data: OrderPlaced }).data.n),
        },
        preset: {
          worker: {
            concurrentJobs: concurrency,
            localQueue: { size: localQueueSize },
            completeJobBatchDelay: 0,
            failJobBatchDelay: 0,
          },
        },
      });
    },
    async close() {
      await runner?.stop();
      await utils.release();
      await pgPool.end().catch(() => {});
      await onServer(url, `DROP DATABASE IF EXISTS ${database} WITH (FORCE)`);
    },
  };
  return contender;
};
