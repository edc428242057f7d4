/**
 * `redrive`, `discard` and `edit-and-redrive`: what a person decides about dead letters. The work goes in steps of the desk; Ctrl-C ends it after
 * the step under way, and the same command goes on where it ended, because what was moved no longer matches.
 */
import type { DeadLetterMove, DeadLetterMoveOptions } from '../../dead-letter-desk.ts';
import type { DeadLetterFilter } from '../../engine.ts';
import type { Command, CommandContext, Session } from '../command.ts';
import { afterDecision, onDecision, onEngine, stoppedEarly } from '../exits.ts';
import { CliFailure, type ExitCode, exitCodes, usage } from '../failure.ts';
import { filterOf, filterOptions, letterOf, lettersOf, wholeNumber } from '../filters.ts';
import { refuseUnknown, tellUnnamed, tellUnnoted } from '../known.ts';
import { parseData } from './publish.ts';

const moveOptions = {
  ...filterOptions,
  all: { description: 'every dead letter, when no filter is given' },
  limit: { value: '<n>', description: 'at most so many' },
  'dry-run': { description: 'count by cause what it would take, and change nothing' },
};

export const redrive: Command = {
  name: 'redrive',
  summary: 'puts dead letters back into their subscription',
  details:
    'They go back before what was never tried, on RabbitMQ behind what waits. They keep their id and their history. What fails again while this runs is not redriven again. A parked sequence of a key goes back as a whole, so a limit may be exceeded. With --json it answers { moved, remaining, aborted }. Ctrl-C ends it after the step under way; the same command goes on from there.',
  arguments: [],
  options: moveOptions,
  exits: {
    0: afterDecision,
    2: 'Wrong command line, no filter, or a file or what a filter names that is not there. Nothing was done.',
    ...onEngine,
    ...stoppedEarly,
  },
  examples: [
    'redrive --group "threw: Error: the mail server is busy" --dry-run',
    'redrive --channel order.placed',
    'redrive --all',
    'redrive --all --url amqp://localhost --channels ./channels.ts',
  ],
  run: (context) =>
    move(context, 'redriven', (session, filter, options) => session.deadLetters.redrive(filter, options)),
};

export const discard: Command = {
  name: 'discard',
  summary: 'forgets dead letters for good',
  details:
    'It cannot be undone: the name of the channel has to be repeated with --confirm. Where the module of --channels exports "decisions", each is noted there, so that "reconcile" does not take it for lost; it says so where the module exports "reconciliation" alone. With --json it answers { discarded, remaining, aborted }.',
  arguments: [],
  options: {
    ...moveOptions,
    confirm: { value: '<channel>', description: 'the name of the channel, or "all" with --all' },
  },
  exits: {
    0: afterDecision,
    2: 'Wrong command line, no filter, not confirmed, or a file or what a filter names that is not there. Nothing was done.',
    ...onDecision,
    ...stoppedEarly,
  },
  examples: [
    'discard --channel order.placed --dry-run',
    'discard --channel order.placed --dry-run --url amqp://localhost --channels ./channels.ts',
    'discard --channel order.placed --confirm order.placed',
  ],
  run: (context) =>
    move(context, 'discarded', (session, filter, options) => session.deadLetters.discard(filter, options)),
};

type Move = (
  session: Session,
  filter: DeadLetterFilter,
  options: DeadLetterMoveOptions,
) => Promise<DeadLetterMove>;

async function move(context: CommandContext, done: 'redriven' | 'discarded', work: Move): Promise<ExitCode> {
  const { values, terminal, signal } = context;
  const filter = filterOf(values);
  if (Object.keys(filter).length === 0 && !values.flag('all'))
    throw usage('no filter was given', 'Give one, for instance --channel, or --all for every dead letter.');
  const limit = wholeNumber(values, 'limit', Number.MAX_SAFE_INTEGER, 1, Number.MAX_SAFE_INTEGER);
  if (done === 'discarded' && !values.flag('dry-run')) refuseUnconfirmed(context, filter);
  const session = await context.session();
  tellUnnamed(session, terminal);
  await refuseUnknown(session, filter);
  if (done === 'discarded') tellUnnoted(session, terminal);
  if (values.flag('dry-run')) return preview(context, session, done, filter, limit);
  const moved = await work(session, filter, {
    limit,
    signal,
    onProgress: (soFar) => terminal.progress(`${soFar.moved} ${done}, ${soFar.remaining} to go`),
  });
  const isAborted = signal.aborted && moved.remaining > 0;
  terminal.data(
    { ...countOf(done, moved.moved), remaining: moved.remaining, aborted: isAborted },
    () => `${moved.moved} ${done}, ${moved.remaining} left`,
  );
  if (isAborted) terminal.say('Stopped. The same command goes on from here.');
  return isAborted ? exitCodes.partlyFailed : exitCodes.ok;
}

/** For a script: what was forgotten was moved nowhere. */
export function countOf(done: 'redriven' | 'retried' | 'discarded', count: number): object {
  return done === 'discarded' ? { discarded: count } : { moved: count };
}

function refuseUnconfirmed({ values }: CommandContext, { channel }: DeadLetterFilter): void {
  const asked = channel ?? (values.flag('all') ? 'all' : undefined);
  if (asked === undefined)
    throw usage(
      'discard needs --channel or --all',
      'Name the channel whose dead letters are to be forgotten.',
    );
  if (values.text('confirm') !== asked)
    throw usage(
      `discarding cannot be undone and was not confirmed`,
      `Look with --dry-run first; then repeat the name: --confirm ${asked}`,
    );
}

async function preview(
  { terminal }: CommandContext,
  session: Session,
  done: 'redriven' | 'discarded',
  filter: DeadLetterFilter,
  limit: number,
): Promise<ExitCode> {
  const counts = new Map<string, number>();
  let matching = 0;
  for await (const { group } of lettersOf(session, filter)) {
    if (matching >= limit) break;
    matching += 1;
    counts.set(group, (counts.get(group) ?? 0) + 1);
    terminal.progress(`${matching} so far`);
  }
  const rows = [...counts].sort((a, b) => b[1] - a[1]).map(([group, count]) => ({ count, group }));
  terminal.table(rows, ['count', 'group'], { matching, groups: rows, dryRun: true });
  terminal.say(`${matching} would be ${done}; nothing was.`);
  return exitCodes.ok;
}

export const editAndRedrive: Command = {
  name: 'edit-and-redrive',
  summary: 'puts a new message with other data in the place of a dead letter',
  details:
    'The data is checked by the contract of the channel, so --channels is needed. The new message has an id of its own; its cause is the one it replaces, if that had an id. Without --data the current data is printed, to be edited; of a message that cannot be read, its text as it came. Where the module exports "decisions", what was replaced is noted there.',
  arguments: [{ name: 'id', description: 'of the dead letter or of its message' }],
  options: { data: { value: '<file>', description: 'JSON of the new data; "-" reads stdin' } },
  exits: {
    0: 'The new message waits in its subscription; without --data, the current data was printed.',
    2: 'Wrong command line, a file or dead letter that is not there, a channel without its contract, or data that does not fit it. Nothing was done.',
    ...onDecision,
  },
  examples: [
    'edit-and-redrive 01920c1e-... --channels ./channels.ts > data.json',
    'edit-and-redrive 01920c1e-... --channels ./channels.ts --data data.json',
  ],
  async run({ session, values, terminal, read, arguments: [id = ''] }) {
    const opened = await session();
    const letter = await letterOf(opened, id);
    const path = values.text('data');
    if (path === undefined) {
      const current = currentData(letter.raw);
      terminal.data(current, () =>
        typeof current === 'string' ? current : JSON.stringify(current, null, 2),
      );
      return exitCodes.ok;
    }
    if (!opened.channel(letter.channel))
      throw usage(
        `the contract of channel "${letter.channel}" is not known`,
        'Give --channels with the module that defines it.',
      );
    const data = parseData(await read(path), path);
    tellUnnoted(opened, terminal);
    const messageId = await opened.deadLetters.redriveEdited(letter, data);
    if (messageId === undefined)
      throw new CliFailure(
        exitCodes.failed,
        `dead letter "${letter.id}" was not replaced`,
        'It is gone: redriven or discarded meanwhile. Nothing was published.',
      );
    terminal.data({ messageId, replaced: letter.id }, () => messageId);
    return exitCodes.ok;
  },
};

/** What does not read as a CloudEvent with data is shown as it came: nothing of it may be lost to whoever corrects it. */
function currentData(raw: string): unknown {
  try {
    const event: unknown = JSON.parse(raw);
    const hasData = typeof event === 'object' && event !== null && 'data' in event;
    return hasData ? event.data : raw;
  } catch {
    return raw;
  }
}
