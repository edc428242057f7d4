/**
 * BullMQ on a Redis of its own. A queue for adding and a worker with the same concurrency; finished jobs are removed, because kept ones would only slow it. The
 * event is the job's data, which BullMQ writes and reads as JSON itself.
 */
import { Queue, Worker } from 'bullmq';
import {
  attributesOf,
  type Contender,
  gathered,
  type OpenContender,
  type OrderPlaced,
  orderOf,
  slice,
} from '../contender.ts';

const jobsPerBulk = 500;

export const openBullmq: OpenContender = async ({ url, prefix, concurrency }) => {
  const { hostname: host, port } = new URL(url);
  const connection = { host, port: Number(port), maxRetriesPerRequest: null };
  const name = `${prefix}orders`;
  const queue = new Queue(name, {
    connection,
    defaultJobOptions: { removeOnComplete: true, attempts: 3 },
  });
  await queue.waitUntilReady();
  const dataOf = (n: number) => ({ ...attributesOf(), data: orderOf(n) });
  let worker: Worker | undefined;
  const store = (numbers: readonly number[]): Promise<unknown> =>
    queue.addBulk(numbers.map((n) => ({ name: 'order', data: dataOf(n) })));
  const contender: Contender = {
    publish: gathered(store),
    async fill(count) {
      for (let from = 0; from < count; from += jobsPerBulk) await store(slice(from, count, jobsPerBulk));
    },
    async consume(handled) {
      worker = new Worker(name, async (job) => handled((job.data as { readonly data: OrderPlaced }).data.n), {
        connection,
        concurrency,
      });
      await worker.waitUntilReady();
    },
    async close() {
      await worker?.close(true);
      await queue.close();
    },
  };
  return contender;
};
