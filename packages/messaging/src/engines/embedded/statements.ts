/** The SQL of the embedded engine, prepared once. One statement an operation; names say what it does, parameters are in order. */
import type { DatabaseSync, StatementSync } from 'node:sqlite';

const SQL = {
  insertMessage: 'INSERT INTO messages (position, stored_at, expires_at, key, body) VALUES (?, ?, ?, ?, ?)',
  insertRouted:
    'INSERT INTO messages (position, stored_at, expires_at, key, body, route) VALUES (?, ?, ?, ?, ?, ?)',
  readMessages:
    'SELECT position, expires_at, key, body FROM messages WHERE position >= ? AND position <= ? ORDER BY position LIMIT ?',
  readRouted:
    'SELECT position, expires_at, key, body, route FROM messages WHERE position >= ? AND position <= ? ORDER BY position LIMIT ?',
  readRoutes: 'SELECT position, route FROM messages WHERE position >= ? AND position <= ? ORDER BY position',
  readMessage:
    'SELECT position AS origin, stored_at, expires_at, key, body, NULL AS state, 0 AS abandoned FROM messages WHERE position = ?',
  oldestMessage:
    'SELECT position, stored_at FROM messages WHERE position >= ? AND position <= ? ORDER BY position LIMIT 1',
  newestMessage:
    'SELECT position FROM messages WHERE position >= ? AND position <= ? ORDER BY position DESC LIMIT 1',
  deleteMessages: 'DELETE FROM messages WHERE position >= ? AND position < ?',

  insertScheduled: 'INSERT INTO scheduled (log, due_at, expires_at, key, body) VALUES (?, ?, ?, ?, ?)',
  dueScheduled:
    'SELECT number, log, expires_at, key, body FROM scheduled WHERE due_at <= ? ORDER BY due_at, number LIMIT ?',
  deleteScheduled: 'DELETE FROM scheduled WHERE number = ?',
  nextScheduled: 'SELECT min(due_at) AS due_at FROM scheduled',
  countScheduled: 'SELECT count(*) AS count FROM scheduled WHERE log = ?',

  channels: 'SELECT name, ordered, on_failure, ephemeral, routing, keep_ms FROM channels',
  upsertChannel: `INSERT INTO channels (name, ordered, on_failure, ephemeral, routing, keep_ms) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET ordered = excluded.ordered, on_failure = excluded.on_failure, ephemeral = excluded.ephemeral,
    routing = excluded.routing, keep_ms = excluded.keep_ms`,
  deleteChannel: 'DELETE FROM channels WHERE name = ?',
  logs: 'SELECT log, channel, level FROM logs',
  insertLog: 'INSERT INTO logs (channel, level) VALUES (?, ?) RETURNING log',
  deleteLog: 'DELETE FROM logs WHERE log = ?',
  deleteLogScheduled: 'DELETE FROM scheduled WHERE log = ?',

  subscriptions: 'SELECT subscription, channel, name, expired FROM subscriptions',
  insertSubscription: 'INSERT INTO subscriptions (channel, name) VALUES (?, ?) RETURNING subscription',
  deleteSubscription: 'DELETE FROM subscriptions WHERE subscription = ?',
  deleteSubscriptionCursors: 'DELETE FROM cursors WHERE subscription = ?',
  deleteSubscriptionDeferred: 'DELETE FROM deferred WHERE subscription = ?',
  bindings: 'SELECT subscription, log, since, bindings FROM bindings ORDER BY since',
  setBindings: `INSERT INTO bindings (subscription, log, since, bindings) VALUES (?, ?, ?, ?)
    ON CONFLICT (subscription, log, since) DO UPDATE SET bindings = excluded.bindings`,
  deleteBindingsBefore: 'DELETE FROM bindings WHERE subscription = ? AND log = ? AND since < ?',
  deleteSubscriptionBindings: 'DELETE FROM bindings WHERE subscription = ?',
  setExpired: 'UPDATE subscriptions SET expired = ? WHERE subscription = ?',

  cursors: 'SELECT subscription, log, next, flying FROM cursors',
  upsertCursor: `INSERT INTO cursors (subscription, log, next, flying) VALUES (?, ?, ?, ?)
    ON CONFLICT (subscription, log) DO UPDATE SET next = excluded.next, flying = excluded.flying`,

  insertDeferred: `INSERT INTO deferred (subscription, origin, due_at, flying, in_lane, stored_at, expires_at, key, state, abandoned, body)
    VALUES (?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?)`,
  readDeferred:
    'SELECT origin, stored_at, expires_at, key, body, state, abandoned, in_lane FROM deferred WHERE number = ?',
  dueDeferred: `SELECT number, origin, in_lane, expires_at, key, state, abandoned, body FROM deferred
    WHERE subscription = ? AND due_at IS NOT NULL AND due_at <= ? ORDER BY due_at, origin LIMIT ?`,
  nextDeferred: 'SELECT min(due_at) AS due_at FROM deferred WHERE subscription = ? AND due_at IS NOT NULL',
  flyDeferred: 'UPDATE deferred SET due_at = NULL, flying = 1 WHERE number = ?',
  retryDeferred:
    'UPDATE deferred SET due_at = ?, flying = 0, in_lane = ?, state = coalesce(?, state), abandoned = abandoned + ? WHERE number = ?',
  waitDeferred: 'UPDATE deferred SET due_at = NULL, in_lane = 1 WHERE number = ?',
  deleteDeferred: 'DELETE FROM deferred WHERE number = ?',
  headOfLane: `UPDATE deferred SET due_at = ? WHERE number =
    (SELECT number FROM deferred WHERE subscription = ? AND key = ? AND in_lane = 1 ORDER BY origin, number LIMIT 1) RETURNING number`,
  lane: 'SELECT number, origin, stored_at, expires_at, key, body, state FROM deferred WHERE subscription = ? AND key = ? AND in_lane = 1 ORDER BY origin, number',
  lanes: 'SELECT key, count(*) AS count FROM deferred WHERE subscription = ? AND in_lane = 1 GROUP BY key',
  waitingDeferred: `SELECT origin, body FROM deferred WHERE subscription = ? AND flying = 0 AND (due_at IS NULL OR due_at <= ?)
    AND (expires_at IS NULL OR expires_at > ?) ORDER BY origin, number LIMIT ?`,
  deleteDeferredBefore: 'DELETE FROM deferred WHERE subscription = ? AND origin >= ? AND origin < ?',
  deleteDeferredOlder:
    'DELETE FROM deferred WHERE subscription = ? AND origin >= ? AND origin <= ? AND stored_at < ?',
  deleteDeferredOfLog: `DELETE FROM deferred WHERE subscription = ? AND origin >= ? AND origin <= ?
    AND body = (SELECT body FROM messages WHERE position = origin)`,
  landDeferred: 'UPDATE deferred SET due_at = 0, flying = 0, abandoned = abandoned + 1 WHERE flying = 1',
  countDeferred: `SELECT count(*) FILTER (WHERE due_at <= ?) AS ready, count(*) FILTER (WHERE due_at > ?) AS delayed,
    count(*) FILTER (WHERE due_at IS NULL AND flying = 0) AS waiting, min(stored_at) AS oldest FROM deferred WHERE subscription = ?`,

  insertDead: `INSERT INTO dead_letters (id, subscription, channel, subscription_name, message_id, origin, in_lane, stored_at, expires_at, key,
    reason, failure_group, parked_at, history, state, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  parkedKeys: 'SELECT DISTINCT key FROM dead_letters WHERE subscription = ? AND in_lane = 1',
  parkedOfKey:
    'SELECT count(*) AS count FROM dead_letters WHERE subscription = ? AND key = ? AND in_lane = 1',
  deadOfKey:
    'SELECT * FROM dead_letters WHERE subscription = ? AND key = ? AND in_lane = 1 ORDER BY origin, number',
  isParked:
    'SELECT 1 AS parked FROM dead_letters WHERE subscription = ? AND key = ? AND origin = ? AND in_lane = 1',
  deadById: 'SELECT * FROM dead_letters WHERE id = ?',
  deleteDead: 'DELETE FROM dead_letters WHERE number = ?',
  deadGroups:
    'SELECT failure_group, count(*) AS count FROM dead_letters WHERE subscription = ? GROUP BY failure_group ORDER BY count DESC, failure_group LIMIT 100',
  deadNumber: 'SELECT number FROM dead_letters WHERE id = ?',
} as const;

export type Statements = { readonly [Name in keyof typeof SQL]: StatementSync };

export function prepareStatements(db: DatabaseSync): Statements {
  const prepared: Record<string, StatementSync> = {};
  for (const [name, sql] of Object.entries(SQL)) prepared[name] = db.prepare(sql);
  // Read for each message: an object a row costs half as much again.
  for (const name of ['readMessages', 'readRouted'] as const) prepared[name]?.setReturnArrays(true);
  return prepared as Statements;
}
