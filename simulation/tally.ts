/**
 * A service of the shop that counts the messages it gets, in a file of its own, by the toolkit's inbox: the usual way to consume a queue that may
 * hand out twice. It is workload, not product: what it counts shows whether outbox, relay, bus and inbox together lose or double anything.
 */
import type { DatabaseSync } from 'node:sqlite';
import { ack, alreadyHandled, type Bus, type Clock, inboxSchema } from '@doorbuster/messaging';
import { deliveryRequested } from '../packages/server/src/messages.ts';

const schema = `${inboxSchema}
CREATE TABLE IF NOT EXISTS counted (message_id TEXT PRIMARY KEY, times INTEGER NOT NULL) STRICT, WITHOUT ROWID;`;

export function prepareTally(db: DatabaseSync): void {
  db.exec(schema);
}

/** `commit` runs a transaction, or never comes back from it: its process may end before, in the middle (rolled back) or behind it. */
export function startTally(
  bus: Pick<Bus, 'subscribe'>,
  db: DatabaseSync,
  clock: Clock,
  commit: (transaction: () => void) => Promise<void>,
): void {
  const count = db.prepare(
    'INSERT INTO counted (message_id, times) VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1',
  );
  bus.subscribe(deliveryRequested, {
    name: 'tally',
    concurrency: 4,
    handler: async ({ id }) => {
      await commit(() => {
        if (!alreadyHandled(db, { subscription: 'tally', messageId: id, now: clock.now() })) count.run(id);
      });
      return ack();
    },
  });
}
