/** Outbox and inbox tables as the sources of a reconciliation, the same on every database: pages by time and number, look-ups by id. */
import { decodeCloudEvent } from '../cloud-event.ts';
import type { OutgoingMessage } from '../engine.ts';
import type {
  Page,
  PageRequest,
  RecordedMessage,
  RecordedSource,
  RecordedState,
  SettledMessage,
  SettledSource,
  TimeWindow,
} from '../reconciliation-sources.ts';
import { type OutboxDialect, ROW_COLUMNS, storedRowOf } from './outbox-dialect.ts';
import { faultOfName, refuseBadNames } from '../sound-text.ts';
import { numberOf, placeholders, type SqlDatabase, type SqlRow } from '../sql.ts';

/** Ids asked for in one statement. */
const IDS = 500;

export function sqlRecordedSource(
  database: SqlDatabase,
  dialect: OutboxDialect,
  name: string,
): RecordedSource {
  const { messageId } = dialect;
  return {
    name,
    page: (window, page) => recordedPage(database, dialect, window, page),
    recorded: (ids) =>
      inLots(
        ids,
        (list) => `SELECT ${messageId} AS id FROM outbox o WHERE ${dialect.messageIdIn(list)}`,
        database,
      ),
    async keptSince() {
      const { rows } = await database.run('SELECT kept_since FROM outbox_kept');
      return numberOf(rows[0]?.kept_since) ?? 0;
    },
  };
}

/**
 * `published_at` is of the first run that takes the row in. A relay that starts again tells the end of the last one once more, and of two with one end the one that began first is the
 * earlier. By the primary key, because an index on `up_to` has it in order already, where a column of its own would have all runs sorted for each row.
 */
async function recordedPage(
  database: SqlDatabase,
  { messageId, recordedAt, isPassed, isInRun, heldBack }: OutboxDialect,
  { from, to }: TimeWindow,
  { after, limit }: PageRequest,
): Promise<Page<RecordedMessage>> {
  const [time, number] = after?.split(':').map(Number) ?? [from, -1];
  const { rows } = await database.run(
    `SELECT ${ROW_COLUMNS}, ${messageId} AS id, ${recordedAt} AS recorded_at, h.state, h.reason, h.at AS held_at,
            CASE WHEN ${isPassed} THEN 1 ELSE 0 END AS passed,
            CASE WHEN h.state IS NULL AND NOT ${isPassed} AND ${heldBack?.sql ?? '0 = 1'} THEN 1 ELSE 0 END AS held_back,
            (SELECT r.at FROM outbox_runs r WHERE ${isInRun} ORDER BY r.up_to, r.began_at LIMIT 1) AS published_at
     FROM outbox o CROSS JOIN outbox_mark m LEFT JOIN outbox_held h ON h.number = o.number
     WHERE ${recordedAt} >= ? AND ${recordedAt} < ? AND (${recordedAt} > ? OR o.number > ?)
     ORDER BY ${recordedAt}, o.number LIMIT ${limit}`,
    [time ?? from, to, time ?? from, number ?? -1],
  );
  const last = rows.at(-1);
  return {
    items: rows.map((row) => recordedOf(row, heldBack?.why)),
    next: rows.length < limit || !last ? undefined : `${Number(last.recorded_at)}:${Number(last.number)}`,
  };
}

function recordedOf(row: SqlRow, whyHeldBack: string | undefined): RecordedMessage {
  const held = row.state === null ? undefined : (String(row.state) as RecordedState);
  const state = held ?? (Number(row.passed) === 1 ? 'published' : 'unpublished');
  const outgoing = outgoingOf(row);
  const unsentReason = Number(row.held_back) === 1 ? whyHeldBack : undefined;
  return {
    id: String(row.id),
    channel: String(row.channel),
    key: outgoing?.message.key,
    recordedAt: Number(row.recorded_at),
    state,
    publishedAt: state !== 'published' ? undefined : numberOf(held ? row.held_at : row.published_at),
    reason: held && row.reason !== null ? String(row.reason) : unsentReason,
    outgoing,
  };
}

function outgoingOf(row: SqlRow): OutgoingMessage | undefined {
  const { channel, dueAt, priority, body } = storedRowOf(row);
  try {
    return {
      channel,
      message: decodeCloudEvent(body),
      ...(dueAt === undefined ? {} : { dueAt }),
      ...(priority === undefined ? {} : { priority }),
    };
  } catch {
    return undefined;
  }
}

export interface SettledSourceOptions {
  readonly subscription: string;
  readonly channels: readonly string[];
  readonly takes?: (message: RecordedMessage) => boolean;
  readonly since?: number;
}

/** `messageId` is the SQL that reads an inbox's id as text. Throws DB_MSG_INVALID_OPTIONS for a subscription that nothing can be stored under. */
export function sqlSettledSource(
  database: SqlDatabase,
  options: SettledSourceOptions,
  messageId = 'message_id',
): SettledSource {
  const { subscription } = options;
  refuseBadNames('the inbox of a subscription', { 'its name': subscription });
  return {
    ...options,
    page: (window, page) => settledPage(database, subscription, messageId, window, page),
    settled: (ids) =>
      inLots(
        ids,
        (list) => `SELECT ${messageId} AS id FROM inbox WHERE subscription = ? AND message_id IN (${list})`,
        database,
        [subscription],
      ),
    async keptSince() {
      const { rows } = await database.run('SELECT kept_since FROM inbox_mark WHERE subscription = ?', [
        subscription,
      ]);
      return numberOf(rows[0]?.kept_since) ?? 0;
    },
  };
}

async function settledPage(
  database: SqlDatabase,
  subscription: string,
  messageId: string,
  { from, to }: TimeWindow,
  { after, limit }: PageRequest,
): Promise<Page<SettledMessage>> {
  const at = after === undefined ? from : Number(after.slice(0, after.indexOf(':')));
  const id = after?.slice(after.indexOf(':') + 1) ?? '';
  const { rows } = await database.run(
    `SELECT ${messageId} AS id, handled_at FROM inbox
     WHERE subscription = ? AND handled_at >= ? AND handled_at < ? AND (handled_at > ? OR message_id > ?)
     ORDER BY handled_at, message_id LIMIT ${limit}`,
    [subscription, at, to, at, id],
  );
  const last = rows.at(-1);
  return {
    items: rows.map((row) => ({ id: String(row.id), settledAt: Number(row.handled_at) })),
    next: rows.length < limit || !last ? undefined : `${Number(last.handled_at)}:${String(last.id)}`,
  };
}

async function inLots(
  ids: readonly string[],
  statement: (list: string) => string,
  database: SqlDatabase,
  before: readonly string[] = [],
): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  // Ids come from everywhere. One that cannot be stored is not there, and must not end a reconciliation of all the others.
  const storable = ids.filter((id) => faultOfName(id) === undefined);
  for (let from = 0; from < storable.length; from += IDS) {
    const lot = storable.slice(from, from + IDS);
    const { rows } = await database.run(statement(placeholders(lot.length)), [...before, ...lot]);
    for (const { id } of rows) found.add(String(id));
  }
  return found;
}
