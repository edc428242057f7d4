/** Defects planted in a real store of streams, each a mistake that event stores have really made; `streams/streams.int.test.ts` shows that the cases catch them. */
import type { SqlDatabase } from '../sql.ts';
import type { RecordedEvent, StreamStore } from '../streams/stream-store.ts';

/** The reader that everybody writes first: by number alone. On PostgreSQL it loses what commits late. */
export function readByNumber(sql: SqlDatabase): Pick<StreamStore, 'readAll'> {
  return {
    async readAll(checkpoint, limit) {
      const after = (checkpoint ?? '0').split(':').at(-1) ?? '0';
      const { rows } = await sql.run(
        `SELECT id, stream, version, type, data, recorded_at, position FROM stream_events WHERE position > ? ORDER BY position LIMIT ${limit}`,
        [after],
      );
      return rows.map(
        (row): RecordedEvent => ({
          id: String(row['id']),
          stream: String(row['stream']),
          version: Number(row['version']),
          type: String(row['type']),
          data: JSON.parse(String(row['data'])) as unknown,
          recordedAt: Number(row['recorded_at']),
          checkpoint: sql.dialect === 'postgres' ? `0:${String(row['position'])}` : String(row['position']),
        }),
      );
    },
  };
}

export const streamDefects = {
  'the expected version is not compared': (real) => ({
    append: (stream, events) => real.append(stream, events),
    appendIn: (tx, stream, events) => real.appendIn(tx, stream, events),
  }),
  'an append in a transaction does not belong to it': (real) => ({
    appendIn: (_tx, stream, events, options) => real.append(stream, events, options),
  }),
  'reads begin behind the version': (real) => ({
    read: (stream, options = {}) =>
      real.read(stream, { ...options, fromVersion: (options.fromVersion ?? 1) + 1 }),
  }),
  'the last of a page is skipped': (real) => ({
    async readAll(checkpoint, limit) {
      const page = await real.readAll(checkpoint, limit);
      return page.length === limit && limit > 1 && limit < 1_000
        ? page.slice(0, -2).concat(page.slice(-1))
        : page;
    },
  }),
  'a snapshot of any schema is used': (real) => {
    const schemas = new Map<string, number>();
    return {
      saveSnapshot(stream, name, snapshot) {
        schemas.set(stream, snapshot.schemaVersion);
        return real.saveSnapshot(stream, name, snapshot);
      },
      loadSnapshot: (stream, name, schemaVersion) =>
        real.loadSnapshot(stream, name, schemas.get(stream) ?? schemaVersion),
    };
  },
  'a late commit is skipped': (_real, sql) => readByNumber(sql),
} as const satisfies Record<string, (real: StreamStore, sql: SqlDatabase) => Partial<StreamStore>>;

export type StreamDefect = keyof typeof streamDefects;

export function plantInStreams(defect: StreamDefect, store: StreamStore, sql: SqlDatabase): StreamStore {
  const bound: StreamStore = {
    prepare: () => store.prepare(),
    append: (stream, events, options) => store.append(stream, events, options),
    appendIn: (tx, stream, events, options) => store.appendIn(tx, stream, events, options),
    read: (stream, options) => store.read(stream, options),
    readAll: (checkpoint, limit) => store.readAll(checkpoint, limit),
    loadSnapshot: (stream, name, schemaVersion) => store.loadSnapshot(stream, name, schemaVersion),
    saveSnapshot: (stream, name, snapshot) => store.saveSnapshot(stream, name, snapshot),
  };
  return { ...bound, ...streamDefects[defect](bound, sql) };
}
