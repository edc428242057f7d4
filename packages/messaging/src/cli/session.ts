/**
 * The engine as a command works on it: connected below the bus, because an operator's command must not start subscriptions, and
 * must not change the settings of a channel it only knows by name. Opening makes no channel and no subscription: engines that know only what was declared to
 * them are told what of the module of `--channels` exists, as the application declares it. The commands that write declare what they write to.
 */
import { createIds } from '../ids.ts';
import { steadyClock, type Clock } from '../clock.ts';
import type { DecisionLog } from '../dead-letter-decisions.ts';
import { DeadLetterDesk } from '../dead-letter-desk.ts';
import { engineFromUrl, engineLoadedBy } from '../engine-from-url.ts';
import type { Engine } from '../engine.ts';
import { MessagingError } from '../errors.ts';
import { readSqliteUrl } from '../sqlite-url.ts';
import { refuseOtherFile } from './bus-file.ts';
import type { ChannelsModule, EngineOptions } from './channels-module.ts';
import type { Session } from './command.ts';
import { type DatabasePlace, inWords, openedInWords } from './databases.ts';
import { CliFailure, exitCodes, usage } from './failure.ts';
import { called, type ModuleCall } from './module-calls.ts';
import { canList, presentOn } from './present.ts';

/** `given` is what the application gives to its engine and a URL has no place for. */
export type OpenEngine = (url: string, given: EngineOptions) => Promise<Engine>;

export interface SessionOptions {
  readonly url: string | undefined;
  readonly module: ChannelsModule;
  readonly clock: Clock;
  readonly openEngine: OpenEngine;
  readonly onFatal: (error: Error) => void;
  /** Told what of the module the server does not have, when there is such. */
  readonly onAbsent: (names: readonly string[]) => void;
}

export interface OpenSession extends Session {
  close(): Promise<void>;
}

/** A file that is not there, or is no bus, is refused: an operator's typo must not make one. */
export async function openExisting(url: string, given: EngineOptions = {}): Promise<Engine> {
  const path = url.startsWith('sqlite:') ? readSqliteUrl(url).path : '';
  if (path !== '') refuseOtherFile(url, path);
  // A URL has no place for what follows, so the engines' own factories are given it on the way.
  if (path !== '') return engineLoadedBy(async (specifier) => asGuest(await import(specifier)), url);
  if (Object.keys(given).length === 0) return engineFromUrl(url);
  refuseOtherPrefix(url, given);
  return engineLoadedBy(async (specifier) => withOptions(await import(specifier), given), url);
}

/** Two prefixes are two buses: which one is meant is said where it is read. */
function refuseOtherPrefix(url: string, { prefix }: EngineOptions): void {
  if (prefix === undefined) return;
  const named = new URLSearchParams(url.split('?', 2)[1] ?? '').get('prefix');
  if (named === prefix) return;
  throw usage(
    `"engineOptions" of the module of --channels has the prefix ${inQuotes(prefix)}, and the URL ${named === null ? 'names none' : `has ${inQuotes(named)}`}`,
    'Name the prefix in the URL: ?prefix=... .',
  );
}

const inQuotes = (text: unknown): string => JSON.stringify(String(text));

/** The factories of an engine's module, which then make engines as the application's are made. What the URL says stands. */
function withOptions(module: object, given: EngineOptions): object {
  const factories = Object.entries(module).filter(([, value]) => typeof value === 'function') as [
    string,
    (options: object) => Engine,
  ][];
  return Object.fromEntries(
    factories.map(([name, make]) => [name, (options: object) => make({ ...given, ...options })]),
  );
}

interface EmbeddedModule {
  readonly createEmbeddedEngine: (options: object) => Engine;
  readonly createGuestEngine: (options: object) => Engine;
}

/** A shared file is never hosted by an operator's command, and what its application keeps for later subscriptions is never old for a look. */
function asGuest({ createEmbeddedEngine, createGuestEngine }: EmbeddedModule): object {
  return {
    createEmbeddedEngine: ({ path, share }: { readonly path: string; readonly share?: boolean }) =>
      share
        ? createGuestEngine({ path })
        : createEmbeddedEngine({ path, keepUnsubscribedMs: Number.POSITIVE_INFINITY }),
  };
}

export async function openSession(options: SessionOptions): Promise<OpenSession> {
  const { url, module, clock } = options;
  if (url === undefined || url === '')
    throw new CliFailure(
      exitCodes.configuration,
      'no engine was named',
      'Give --url, or set DOORBUSTER_BUS_URL: sqlite:./bus.db, amqp://..., kafka://..., redis://...',
    );
  const engine = await options.openEngine(url, module.engineOptions);
  if (!canList(engine.name) && module.channels.length === 0) throw withoutModule(engine.name);
  const steady = steadyClock(clock);
  const connection = await engine.connect({ clock: steady, onFatal: options.onFatal });
  const messageParts = { clock, ids: createIds(clock), source: '/doorbuster-bus' };
  const channel = (name: string) => module.channels.find((one) => one.name === name);
  let nothingThere = false;
  let absent: readonly string[] = [];
  try {
    if (!canList(engine.name)) {
      const present = await presentOn(engine.name, url, module);
      const { topology } = present;
      if (topology.channels.length > 0) await connection.declare(topology).catch(refusedSettings);
      absent = present.absent;
      if (absent.length > 0) options.onAbsent(absent);
      nothingThere = topology.channels.length === 0;
    }
  } catch (error) {
    await connection.close();
    throw error;
  }
  const decisions = decisionsOf(module);
  const deadLetters = new DeadLetterDesk({
    store: () => connection.deadLetters,
    view: async () => (await connection.inspect()).channels,
    channel,
    message: messageParts,
    now: () => steady.now(),
    decisions: decisions.open,
  });
  return {
    engine: engine.name,
    connection,
    deadLetters,
    module,
    messageParts,
    channel,
    absent,
    nothingThere,
    decisions: decisions.open,
    async close() {
      try {
        await connection.close();
      } finally {
        await decisions.close();
      }
    },
  };
}

/** Only the application knows the settings that it made its channels with. */
function refusedSettings(error: unknown): never {
  if (!(error instanceof MessagingError) || error.code !== 'DB_MSG_INVALID_OPTIONS') throw error;
  throw new CliFailure(
    exitCodes.usage,
    error.message,
    'Export from the module of --channels what the application gives to its engine beside the URL, for instance: export const engineOptions = { queueType: "classic" }. Nothing was moved; delete nothing.',
    error.code,
  );
}

/** An empty answer would be untrue: the letters are there, and the engine does not know where. */
function withoutModule(engine: string): CliFailure {
  return usage(
    `${engine} cannot list channels and subscriptions`,
    'Give --channels with the module that exports the channels, and "subscriptions": [{ channel, name }].',
  );
}

/** Opened when the first command needs it: one that only looks needs no database. */
function decisionsOf({ decisions: given }: ChannelsModule): {
  readonly open: () => Promise<DecisionLog | undefined>;
  readonly close: () => Promise<void>;
} {
  let opened: Promise<DecisionLog | undefined> | undefined;
  const open = async (): Promise<DecisionLog | undefined> => {
    const log = (typeof given === 'function' ? await given() : given) as
      | Partial<DecisionLog>
      | null
      | undefined;
    if (log === undefined) return undefined;
    if ([log?.note, log?.about, log?.since].every((one) => typeof one === 'function'))
      return inItsWords(log as DecisionLog);
    throw usage(
      'the "decisions" of the module of --channels are not understood',
      'Export what createSqlDecisions({ sql, onClose }) returns, or a function that makes it. For instance: import { createSqlDecisions } from "@doorbuster/messaging"; import { openSqlStore } from "@doorbuster/messaging/stores"; export const decisions = async () => { const shop = await openSqlStore("postgres://localhost/shop"); return createSqlDecisions({ sql: shop.sql, onClose: () => shop.close() }); };',
    );
  };
  return {
    open: () => called(OPENING, () => openedInWords(DECISIONS, () => (opened ??= open()))),
    async close() {
      const log = await opened?.catch(() => undefined);
      // The work is done and noted. A database that "reconciliation" has closed already is no failure of the command.
      await log?.close?.().catch(() => {});
    },
  };
}

function inItsWords(log: DecisionLog): DecisionLog {
  return {
    note: (decisions) => called(NOTING, () => inWords(DECISIONS, () => log.note(decisions))),
    about: (messageIds) => called(READING, () => inWords(DECISIONS, () => log.about(messageIds))),
    since: () => called(READING, () => inWords(DECISIONS, () => log.since())),
    close: async () => log.close?.(),
  };
}

const DECISIONS: DatabasePlace = {
  name: 'the database of "decisions"',
  remedy: 'Mend its address in the module of --channels. What could not be noted was not done.',
  tables: {
    what: 'the table of decisions',
    madeBy:
      'call "await createSqlDecisions({ sql }).prepare()" once, where the application makes its tables: decisions are on record from then on. What could not be noted was not done',
  },
};

const OF_MODULE = '"decisions" of the module of --channels';
const OPENING: ModuleCall = {
  failed: `${OF_MODULE} could not be opened`,
  exitCode: exitCodes.configuration,
  remedy: 'Mend them in the module of --channels. What could not be noted was not done.',
};
const NOTING: ModuleCall = {
  failed: `${OF_MODULE} could not note what was to be done`,
  exitCode: exitCodes.failed,
  remedy:
    'What could not be noted was not done. Remove what the message names, then run the same command again.',
};
const READING: ModuleCall = {
  failed: `${OF_MODULE} could not be read`,
  exitCode: exitCodes.failed,
  remedy: 'Remove what the message names, then run the same command again.',
};
