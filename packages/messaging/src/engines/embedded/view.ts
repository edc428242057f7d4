/** The counts that people look at, from tables and memory. Cheap: nothing here grows with the backlog of a log. */
import type { DatabaseSync } from 'node:sqlite';
import { earlier, lowestOf } from './positions.ts';
import type { Statements } from './statements.ts';
import type { Subscription } from './subscription.ts';
import type { ChannelState } from './topology.ts';
import type { OperationValue } from './turn.ts';

export function viewOf(
  db: DatabaseSync,
  sql: Statements,
  channels: Iterable<ChannelState>,
): OperationValue['inspect'] {
  const pages = db.prepare('PRAGMA page_count').get() as { page_count: number };
  const size = db.prepare('PRAGMA page_size').get() as { page_size: number };
  const views = [...channels]
    .filter((channel) => !channel.ephemeral)
    .map((channel) => ({
      name: channel.name,
      scheduled: channel.logs.reduce(
        (sum, log) => sum + (sql.countScheduled.get(log.log) as { count: number }).count,
        0,
      ),
      subscriptions: channel.subscriptions.map((one) => one.view(oldestStored(sql, one))),
    }));
  return { channels: views, storedBytes: pages.page_count * size.page_size };
}

function oldestStored(sql: Statements, subscription: Subscription): number | undefined {
  let oldest: number | undefined;
  for (const cursor of subscription.cursors) {
    const from = lowestOf(cursor);
    const row = sql.oldestMessage.get(from, cursor.log.head) as { stored_at: number } | undefined;
    oldest = earlier(oldest, row?.stored_at);
  }
  return oldest;
}
