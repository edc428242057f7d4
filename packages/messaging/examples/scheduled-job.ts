/* oxlint-disable no-console -- an example speaks to the person who runs it */
/**
 * A job by the clock: a leader publishes at each of its times, under an id that is made of the time. Here two lead at once, as two may for a moment: each time is published twice and
 * its report is made once. Run it with `REDIS_URL=redis://... node examples/scheduled-job.ts`; what it leaves on the server it takes away.
 */
import { DatabaseSync } from 'node:sqlite';
import {
  createBus,
  createIds,
  createLeader,
  createLocks,
  defineChannel,
  handleOnce,
  pause,
  systemClock,
} from '@doorbuster/messaging';
import { createInProcessEngine } from '@doorbuster/messaging/engines/embedded';
import { createRedisLockEngine } from '@doorbuster/messaging/locks/redis';
import { sqliteStore } from '@doorbuster/messaging/stores/sqlite';
import { createClient } from 'redis';
import Type from 'typebox';
import { until } from './stage.ts';

if (!process.env.REDIS_URL) throw new Error('set REDIS_URL, for instance redis://localhost:6379');

const client = await createClient({ url: process.env.REDIS_URL }).connect();
const prefix = `example-${createIds(systemClock).next()}:`;
const locks = createLocks({ engine: createRedisLockEngine({ client, prefix }) });

const db = new DatabaseSync(':memory:');
db.exec('CREATE TABLE reports (at TEXT NOT NULL)');
const store = sqliteStore(db);
await store.prepare();

const reportWanted = defineChannel({
  name: 'report.wanted',
  version: 1,
  schema: Type.Object({ at: Type.String() }),
});
const bus = createBus({ engine: createInProcessEngine(new DatabaseSync(':memory:')), source: '/reports' });
bus.declare([reportWanted]);
const handled: string[] = [];

bus.subscribe(reportWanted, {
  name: 'reporter',
  handler: async (message) => {
    const outcome = await handleOnce({
      inbox: store.inbox,
      subscription: 'reporter',
      message,
      clock: systemClock,
      work: async () => {
        db.prepare('INSERT INTO reports VALUES (?)').run(message.data.at);
      },
    });
    handled.push(message.data.at);
    return outcome;
  },
});
await bus.start();

const everyMs = 100;

const scheduler = (name: string) =>
  createLeader({
    locks,
    name,
    ttlMs: 5_000,
    async onElected(signal) {
      // From the time that was due last on: whoever led before may have ended in front of it.
      let due = Math.floor(systemClock.now() / everyMs) * everyMs;
      for (; !signal.aborted; due += everyMs) {
        await pause(systemClock, due - systemClock.now(), signal);
        if (signal.aborted) return;
        const at = new Date(due).toISOString();
        await bus.publish(reportWanted, { at }, { id: `report.wanted/${at}` });
      }
    },
  });

// One name would let one of them lead. Two names do what a leader does that does not know yet that it is none.
const names = ['scheduler', 'scheduler-cut-off'];
const schedulers = names.map(scheduler);
for (const one of schedulers) one.start();
const times = () => new Set(handled).size;
await until(async () => times() >= 4 && handled.length > times());
await Promise.all(schedulers.map((one) => one.stop()));
await bus.stop();

const reports = db.prepare('SELECT count(*) AS all_of_them, count(DISTINCT at) AS times FROM reports').get();
console.log(`published twice: ${handled.length > times()}`);
console.log(
  `one report for each time: ${reports?.['all_of_them'] === times() && reports['times'] === times()}`,
);
await client.del(names.map((name) => `${prefix}{${name}}:fence`));
client.destroy();
