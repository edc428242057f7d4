/**
 * Commands on event-sourced streams by three pure functions: what happens (`decide`), what it makes of the state (`evolve`), and where it begins. Time
 * and ids belong into the command, so that a decision can be tested, and repeated, without any of them.
 *
 *   load snapshot -> read what came after -> evolve -> decide -> append at that version --conflict--> load again, at most `attempts` times
 *                                                                      '-- every n versions: snapshot, after the commit
 *
 * A snapshot is a short cut and no truth: one of another schema version is ignored, one that cannot be saved is logged and forgotten, one
 * that is ahead of its stream (tables that were restored to different times) is told and replaced by what the events say.
 */
import { describeError, MessagingError } from '../errors.ts';
import { type Log, safeLog } from '../log.ts';
import { COUNT, ORDINAL, refuseBadNumbers } from '../sound-numbers.ts';
import type { SqlTransaction } from '../sql.ts';
import type { RecordedEvent, Snapshot, StreamEvent, StreamStore } from './stream-store.ts';

export interface Decider<State, Command, Event extends StreamEvent> {
  /** No events: nothing happens. Throw to refuse. May run again on a newer state. */
  readonly decide: (command: Command, state: State) => readonly Event[];
  /** Has to take every event that was ever stored. */
  readonly evolve: (state: State, event: Event) => State;
  readonly initialState: () => State;
}

export interface SnapshotPolicy {
  /** Of this kind of state; a stream may have several. */
  readonly name: string;
  /** Count it up whenever `State` or `evolve` changes: snapshots of other versions are ignored, and replaced by and by. */
  readonly schemaVersion: number;
  /** So many versions apart. */
  readonly every: number;
}

export interface CommandHandlerOptions<State, Command, Event extends StreamEvent> {
  readonly streams: StreamStore;
  readonly decider: Decider<State, Command, Event>;
  readonly snapshot?: SnapshotPolicy;
  /** Decisions on a stream that others append to meanwhile. Default 5. */
  readonly attempts?: number;
  readonly log?: Log;
}

export interface LoadedState<State> {
  readonly state: State;
  /** 0: the stream does not exist. */
  readonly version: number;
}

export interface Handled<State, Event extends StreamEvent> extends LoadedState<State> {
  /** What was appended; none when the decision was that nothing happens. */
  readonly events: readonly Event[];
}

export interface HandleOptions {
  /** What the caller saw: rejects with DB_MSG_STREAM_CONFLICT when it is not that any more, and tries only once. */
  readonly expectedVersion?: number;
  /** Appends inside this transaction; then it is tried once, because the transaction is the caller's to do again. */
  readonly tx?: SqlTransaction;
}

export interface CommandHandler<State, Command, Event extends StreamEvent> {
  load(stream: string): Promise<LoadedState<State>>;
  handle(stream: string, command: Command, options?: HandleOptions): Promise<Handled<State, Event>>;
}

const PAGE = 1_000;

export function createCommandHandler<State, Command, Event extends StreamEvent>({
  streams,
  decider,
  snapshot,
  attempts = 5,
  log: given,
}: CommandHandlerOptions<State, Command, Event>): CommandHandler<State, Command, Event> {
  const log = safeLog(given);
  refuseBadNumbers('a command handler', { attempts }, { attempts: COUNT });
  if (snapshot)
    refuseBadNumbers(`snapshot "${snapshot.name}"`, snapshot, {
      schemaVersion: ORDINAL,
      every: COUNT,
    });
  const load = async (stream: string): Promise<LoadedState<State>> => {
    const taken = snapshot && (await streams.loadSnapshot(stream, snapshot.name, snapshot.schemaVersion));
    if (!taken || taken.version < 1) return readOn(stream, { state: decider.initialState(), version: 0 });
    // The event that the snapshot ends with is read too: without it the snapshot is of another past.
    const page = await streams.read(stream, { fromVersion: taken.version, limit: PAGE });
    if (page[0]?.version !== taken.version) return rebuild(stream, taken.version, snapshot);
    return readOn(stream, { state: taken.state as State, version: taken.version }, page);
  };

  const readOn = async (
    stream: string,
    { state, version }: LoadedState<State>,
    first?: readonly RecordedEvent[],
  ): Promise<LoadedState<State>> => {
    for (let page = first; ; page = undefined) {
      page ??= await streams.read(stream, { fromVersion: version + 1, limit: PAGE });
      for (const recorded of page) {
        if (recorded.version <= version) continue;
        state = decider.evolve(state, eventOf<Event>(recorded));
        version = recorded.version;
      }
      if (page.length < PAGE) return { state, version };
    }
  };

  /** A snapshot ahead of its stream would be wrong again, and unseen, when the stream has grown past it: it is replaced at once. */
  const rebuild = async (
    stream: string,
    ahead: number,
    { name, schemaVersion }: SnapshotPolicy,
  ): Promise<LoadedState<State>> => {
    const loaded = await readOn(stream, { state: decider.initialState(), version: 0 });
    log.warn(
      { stream, snapshot: name, ahead, version: loaded.version },
      'a snapshot is ahead of its stream, as after a restore: it is replaced by what the events say',
    );
    await saveSoundly(stream, name, { schemaVersion, ...loaded });
    return loaded;
  };

  const once = async (
    stream: string,
    command: Command,
    { expectedVersion, tx }: HandleOptions,
  ): Promise<Handled<State, Event>> => {
    const { state, version } = await load(stream);
    if (expectedVersion !== undefined && expectedVersion !== version)
      throw new MessagingError(
        'DB_MSG_STREAM_CONFLICT',
        `stream "${stream}" is at version ${version}, not ${expectedVersion}`,
      );
    const events = decider.decide(command, state);
    if (events.length === 0) return { state, version, events };
    // Before they are stored: what evolve refuses must not be in the stream when the caller hears of it. Called as a method, and with nothing but these two.
    let evolved = state;
    for (const event of events) evolved = decider.evolve(evolved, event);
    const at = { expectedVersion: version };
    const appended = await (tx
      ? streams.appendIn(tx, stream, events, at)
      : streams.append(stream, events, at));
    const handled = { state: evolved, version: appended.version, events };
    if (snapshot && !tx) await save(stream, version, handled, snapshot);
    return handled;
  };

  const save = async (
    stream: string,
    before: number,
    { state, version }: LoadedState<State>,
    { name, schemaVersion, every }: SnapshotPolicy,
  ): Promise<void> => {
    if (Math.floor(before / every) === Math.floor(version / every)) return;
    await saveSoundly(stream, name, { schemaVersion, version, state });
  };

  const saveSoundly = async (stream: string, name: string, snapshotNow: Snapshot): Promise<void> => {
    try {
      await streams.saveSnapshot(stream, name, snapshotNow);
    } catch (error) {
      log.warn({ stream, snapshot: name, error: describeError(error) }, 'a snapshot could not be saved');
    }
  };

  return {
    load,
    async handle(stream, command, options = {}) {
      const most = options.tx || options.expectedVersion !== undefined ? 1 : attempts;
      for (let attempt = 1; ; attempt += 1) {
        try {
          return await once(stream, command, options);
        } catch (error) {
          if (attempt >= most || (error as MessagingError).code !== 'DB_MSG_STREAM_CONFLICT') throw error;
        }
      }
    },
  };
}

const eventOf = <Event extends StreamEvent>({ type, data }: RecordedEvent): Event =>
  ({ type, data }) as Event;
