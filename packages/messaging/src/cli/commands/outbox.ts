/**
 * `outbox parked | retry | discard`: what a relay could never publish, and what a person decides about it. An outbox lies in a database of the application and not on the engine, so
 * these commands are given its address and connect to no engine. The relay may run meanwhile: it sees the decision at its next sweep.
 */
import { decodeCloudEvent } from '../../cloud-event.ts';
import type { OutboxStore, ParkedRow } from '../../outbox-store.ts';
import { openSqlStore } from '../../stores/open.ts';
import type { Command, CommandContext, OptionSpecs, Values } from '../command.ts';
import { inWords, openedInWords, OUTBOX_AND_INBOX } from '../databases.ts';
import { afterDecision, onStore, stoppedEarly } from '../exits.ts';
import { CliFailure, type ExitCode, exitCodes, usage } from '../failure.ts';
import { wholeNumber } from '../filters.ts';
import type { Row } from '../terminal.ts';
import { countOf } from './redrive.ts';

const ADDRESSES = 'sqlite:./shop.db, postgres://..., mysql://..., mariadb://...';
const VARIABLE = 'DOORBUSTER_STORE_URL';
/** Rows of one look and of one decision. */
const PAGE = 200;
const DATABASE = {
  name: 'the database of --store',
  remedy: `Mend --store or ${VARIABLE}; nothing was done.`,
  tables: OUTBOX_AND_INBOX,
};

const storeOption: OptionSpecs = {
  store: {
    value: '<address>',
    description: `the database with the outbox: ${ADDRESSES}`,
    standard: VARIABLE,
  },
};

const filterOptions: OptionSpecs = {
  ...storeOption,
  channel: { value: '<name>', description: 'of this channel' },
  number: {
    value: '<n>',
    description: 'this row, as "outbox parked" shows it; may be given more than once',
    isMultiple: true,
  },
  'message-id': {
    value: '<id>',
    description: 'of this message; may be given more than once',
    isMultiple: true,
  },
  all: { description: 'every parked row, when no filter is given' },
  limit: { value: '<n>', description: 'at most so many' },
  'dry-run': { description: 'count by reason what it would take, and change nothing' },
};

async function withOutbox<T>(
  { values, env }: CommandContext,
  work: (outbox: OutboxStore) => Promise<T>,
): Promise<T> {
  const address = values.text('store') ?? env[VARIABLE] ?? '';
  if (address === '')
    throw new CliFailure(
      exitCodes.configuration,
      'no database with an outbox was named',
      `Give --store, or set ${VARIABLE}: ${ADDRESSES}`,
    );
  const store = await openedInWords(DATABASE, () => openSqlStore(address, { mustExist: true }));
  try {
    return await inWords(DATABASE, () => work(store.outbox));
  } finally {
    await store.close();
  }
}

/** What is known of the message, where its row can be read. */
interface Parked extends ParkedRow {
  readonly messageId: string | undefined;
  readonly key: string | undefined;
}

function withMessage(row: ParkedRow): Parked {
  try {
    const { id, key } = decodeCloudEvent(row.body);
    return { ...row, messageId: id, key };
  } catch {
    return { ...row, messageId: undefined, key: undefined };
  }
}

export const parked: Command = {
  name: 'outbox parked',
  summary: 'lists rows of an outbox that the relay parked, oldest first',
  details:
    'A row is parked when the engine refused it for good, when it cannot be read, or when its channel stayed undeclared for too long. With the default of the relay the later rows of its key wait for the decision.',
  arguments: [],
  options: {
    ...storeOption,
    limit: { value: '<n>', description: 'at most so many, 1 to 1,000', standard: '100' },
    after: { value: '<n>', description: 'those behind this row: the next page', standard: '0' },
  },
  exits: {
    0: 'It listed what is parked, also when nothing is.',
    2: 'Wrong command line, or a file of --store that is not there.',
    ...onStore,
  },
  examples: [
    'outbox parked --store postgres://localhost/shop',
    'outbox parked --store sqlite:./shop.db --json',
  ],
  async run(context) {
    const { values, terminal } = context;
    const limit = wholeNumber(values, 'limit', 100, 1, 1_000);
    const after = wholeNumber(values, 'after', 0, 0, Number.MAX_SAFE_INTEGER);
    const found = await withOutbox(context, (outbox) => outbox.parked({ limit, after }));
    const rows = found.map(withMessage);
    terminal.table(rows.map(lineOf), ['number', 'channel', 'key', 'message', 'parked', 'reason'], rows);
    const last = rows.at(-1);
    if (last && rows.length === limit) terminal.say(`There may be more: --after ${last.number}`);
    return exitCodes.ok;
  },
};

function lineOf({ number, channel, key, messageId, parkedAt, reason }: Parked): Row {
  return {
    number,
    channel,
    key,
    message: messageId,
    parked: new Date(parkedAt).toISOString(),
    reason: reason.split('\n', 1)[0]?.slice(0, 120),
  };
}

export const retryParked: Command = {
  name: 'outbox retry',
  summary: 'lets parked rows of an outbox be published again, with their keys',
  details:
    'The relay takes them at its next sweep, each key in its order, and parks again what is refused again. What is parked while this runs is left. With --json it answers { moved, remaining, aborted }. Ctrl-C ends it after the step under way; the same command goes on from there.',
  arguments: [],
  options: filterOptions,
  exits: {
    0: afterDecision,
    2: 'Wrong command line, no filter, or a file of --store or a row that is not there. Nothing was done.',
    ...onStore,
    ...stoppedEarly,
  },
  examples: [
    'outbox retry --store postgres://localhost/shop --all --dry-run',
    'outbox retry --store postgres://localhost/shop --number 4711',
    'outbox retry --store sqlite:./shop.db --channel order.placed',
  ],
  run: (context) => decide(context, 'retried', (outbox, ...row) => outbox.retryParked(...row)),
};

export const discardParked: Command = {
  name: 'outbox discard',
  summary: 'lets parked rows of an outbox never be published; their keys go on',
  details:
    'It cannot be undone: the name of the channel has to be repeated with --confirm. With --json it answers { discarded, remaining, aborted }.',
  arguments: [],
  options: {
    ...filterOptions,
    confirm: { value: '<channel>', description: 'the name of the channel, or "all" with --all' },
  },
  exits: {
    0: afterDecision,
    2: 'Wrong command line, no filter, not confirmed, or a file of --store or a row that is not there. Nothing was done.',
    ...onStore,
    ...stoppedEarly,
  },
  examples: [
    'outbox discard --store sqlite:./shop.db --channel order.placed --dry-run',
    'outbox discard --store sqlite:./shop.db --channel order.placed --number 4711 --confirm order.placed',
  ],
  run(context) {
    if (!context.values.flag('dry-run')) refuseUnconfirmed(context.values);
    return decide(context, 'discarded', (outbox, ...row) => outbox.discardParked(...row));
  },
};

function refuseUnconfirmed(values: Values): void {
  const asked = values.text('channel') ?? (values.flag('all') ? 'all' : undefined);
  if (asked === undefined)
    throw usage(
      'outbox discard needs --channel or --all',
      'Name the channel whose rows are never to be published.',
    );
  if (values.text('confirm') !== asked)
    throw usage(
      'discarding cannot be undone and was not confirmed',
      `Look with --dry-run first; then repeat the name: --confirm ${asked}`,
    );
}

interface ParkedFilter {
  readonly channel: string | undefined;
  readonly numbers: ReadonlySet<number>;
  readonly messageIds: ReadonlySet<string>;
}

function filterOf(values: Values): ParkedFilter {
  const filter = {
    channel: values.text('channel'),
    numbers: new Set(values.texts('number').map(numberOf)),
    messageIds: new Set(values.texts('message-id')),
  };
  const isEmpty = filter.channel === undefined && filter.numbers.size + filter.messageIds.size === 0;
  if (isEmpty && !values.flag('all'))
    throw usage('no filter was given', 'Give one, for instance --number, or --all for every parked row.');
  return filter;
}

function numberOf(text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 1)
    throw usage(`--number ${text}: no number of a row`, 'doorbuster-bus outbox parked shows them.');
  return number;
}

/** Each kind narrows what the others leave; of one kind any will do. */
function matches(row: Parked, { channel, numbers, messageIds }: ParkedFilter): boolean {
  return (
    (channel === undefined || row.channel === channel) &&
    (numbers.size === 0 || numbers.has(row.number)) &&
    (messageIds.size === 0 || (row.messageId !== undefined && messageIds.has(row.messageId)))
  );
}

async function* parkedIn(outbox: OutboxStore): AsyncGenerator<Parked> {
  let after = 0;
  for (;;) {
    const page = await outbox.parked({ limit: PAGE, after });
    yield* page.map(withMessage);
    after = page.at(-1)?.number ?? after;
    if (page.length < PAGE) return;
  }
}

type Decision = (outbox: OutboxStore, numbers: readonly number[], now: number) => Promise<number>;
type Found = Pick<Parked, 'number' | 'channel' | 'messageId' | 'reason'>;

async function decide(
  context: CommandContext,
  done: 'retried' | 'discarded',
  work: Decision,
): Promise<ExitCode> {
  const { values, terminal } = context;
  const filter = filterOf(values);
  const limit = wholeNumber(values, 'limit', Number.MAX_SAFE_INTEGER, 1, Number.MAX_SAFE_INTEGER);
  return withOutbox(context, async (outbox) => {
    const found: Found[] = [];
    for await (const row of parkedIn(outbox)) {
      if (!matches(row, filter)) continue;
      const { number, channel, messageId, reason } = row;
      found.push({ number, channel, messageId, reason });
      terminal.progress(`${found.length} so far`);
    }
    refuseUnmatched(found, filter);
    if (values.flag('dry-run')) return preview(context, done, found.slice(0, limit));
    return move(context, done, found, (numbers) => work(outbox, numbers, context.clock.now()), limit);
  });
}

/** Nothing found because of a typo must not look like nothing to do. */
function refuseUnmatched(found: readonly Found[], { channel, numbers, messageIds }: ParkedFilter): void {
  const refuse = (what: string): never => {
    throw usage(what, 'doorbuster-bus outbox parked lists them; a row that was decided about is gone.');
  };
  const has = (is: (row: Found) => boolean): boolean => found.some(is);
  const where = channel === undefined ? '' : ` of channel "${channel}"`;
  for (const number of numbers)
    if (!has((row) => row.number === number)) refuse(`no row ${number}${where} is parked`);
  for (const id of messageIds)
    if (!has((row) => row.messageId === id)) refuse(`no row${where} with message "${id}" is parked`);
  if (channel !== undefined && found.length === 0) refuse(`no row${where} is parked`);
}

function preview(
  { terminal }: CommandContext,
  done: 'retried' | 'discarded',
  found: readonly Found[],
): ExitCode {
  const alike = Map.groupBy(found, ({ channel, reason }) => JSON.stringify([channel, reason]));
  const groups = [...alike.values()]
    .map((rows) => ({ count: rows.length, channel: rows[0]?.channel, reason: rows[0]?.reason }))
    .toSorted((a, b) => b.count - a.count);
  terminal.table(groups, ['count', 'channel', 'reason'], { matching: found.length, groups, dryRun: true });
  terminal.say(`${found.length} would be ${done}; nothing was.`);
  return exitCodes.ok;
}

async function move(
  { terminal, signal }: CommandContext,
  done: 'retried' | 'discarded',
  found: readonly Found[],
  work: (numbers: readonly number[]) => Promise<number>,
  limit: number,
): Promise<ExitCode> {
  const meant = found.slice(0, limit).map(({ number }) => number);
  let tried = 0;
  let moved = 0;
  while (tried < meant.length && !signal.aborted) {
    const some = meant.slice(tried, tried + PAGE);
    moved += await work(some);
    tried += some.length;
    terminal.progress(`${moved} ${done}, ${meant.length - tried} to go`);
  }
  const aborted = tried < meant.length;
  const remaining = found.length - tried;
  terminal.data({ ...countOf(done, moved), remaining, aborted }, () => `${moved} ${done}, ${remaining} left`);
  if (moved < tried) terminal.say(`Somebody else had decided about ${tried - moved} of them meanwhile.`);
  if (done === 'retried' && moved > 0) terminal.say('The relay takes them at its next sweep.');
  if (aborted) terminal.say('Stopped. The same command goes on from here.');
  return aborted ? exitCodes.partlyFailed : exitCodes.ok;
}
