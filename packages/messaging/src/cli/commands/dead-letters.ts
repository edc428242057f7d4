/** `dead-letters list | groups | show`: what failed and why, before anything is moved. */
import type { DeadLetterRecord } from '../../engine.ts';
import type { Command } from '../command.ts';
import { onEngine } from '../exits.ts';
import { exitCodes } from '../failure.ts';
import { filterOf, filterOptions, letterOf, wholeNumber } from '../filters.ts';
import { refuseNothingThere, refuseUnknown, tellUnnamed } from '../known.ts';
import { printable, type Row } from '../terminal.ts';

const BLIND_ENGINES =
  'RabbitMQ and Kafka cannot list their channels, so --channels has to name them, and what it does not name is not looked at. Where none of it is there they end with code 2. Looking makes no channel and no subscription; on RabbitMQ the exchanges that the engine keeps for itself are made where they are missing.';

export const list: Command = {
  name: 'dead-letters list',
  summary: 'lists dead letters, oldest first',
  details: BLIND_ENGINES,
  arguments: [],
  options: {
    ...filterOptions,
    limit: { value: '<n>', description: 'at most so many, 1 to 1,000', standard: '100' },
    after: { value: '<id>', description: 'those behind this dead letter: the next page' },
  },
  exits: {
    0: 'It listed what matches, also when nothing does.',
    2: 'Wrong command line, or a file, channel, subscription, group, key or message that is not there.',
    ...onEngine,
  },
  examples: [
    'dead-letters list --channel order.placed',
    'dead-letters list --url amqp://localhost --channels ./channels.ts',
    'dead-letters list --before 2026-11-28T09:00:00Z --json',
  ],
  async run({ session, values, terminal }) {
    const limit = wholeNumber(values, 'limit', 100, 1, 1_000);
    const filter = filterOf(values);
    const after = values.text('after');
    const opened = await session();
    tellUnnamed(opened, terminal);
    await refuseUnknown(opened, filter);
    const letters = await opened.deadLetters.list(filter, {
      limit,
      ...(after === undefined ? {} : { after }),
    });
    terminal.table(
      letters.map(rowOf),
      ['id', 'channel', 'subscription', 'key', 'parked', 'attempts', 'reason'],
      letters,
    );
    const last = letters.at(-1);
    if (last && letters.length === limit) terminal.say(`There may be more: --after ${last.id}`);
    return exitCodes.ok;
  },
};

function rowOf({ id, channel, subscription, key, parkedAt, history, reason }: DeadLetterRecord): Row {
  const attempts = history.at(-1)?.attempt ?? 0;
  const parked = new Date(parkedAt).toISOString();
  return {
    id,
    channel,
    subscription,
    key,
    parked,
    attempts,
    reason: reason.split('\n', 1)[0]?.slice(0, 120),
  };
}

export const groups: Command = {
  name: 'dead-letters groups',
  summary: 'counts dead letters by cause, the largest first',
  details: BLIND_ENGINES,
  arguments: [],
  options: {},
  exits: {
    0: 'It counted what is there, also when nothing is.',
    2: 'Wrong command line, or a file that is not there; on RabbitMQ and Kafka also when nothing of what --channels names is.',
    ...onEngine,
  },
  examples: ['dead-letters groups', 'dead-letters groups --url amqp://localhost --channels ./channels.ts'],
  async run({ session, terminal }) {
    const opened = await session();
    refuseNothingThere(opened);
    tellUnnamed(opened, terminal);
    const found = await opened.deadLetters.groups();
    terminal.table(
      found.map((one) => ({ ...one })),
      ['count', 'channel', 'subscription', 'group'],
    );
    return exitCodes.ok;
  },
};

export const show: Command = {
  name: 'dead-letters show',
  summary: 'shows one dead letter: its message and every failure',
  details: BLIND_ENGINES,
  arguments: [{ name: 'id', description: 'of the dead letter or of its message' }],
  options: {},
  exits: {
    0: 'It showed the dead letter.',
    2: 'Wrong command line, or a file or dead letter that is not there.',
    ...onEngine,
  },
  examples: [
    'dead-letters show 01920c1e-...',
    'dead-letters show 01920c1e-... --url amqp://localhost --channels ./channels.ts',
  ],
  async run({ session, terminal, arguments: [id = ''] }) {
    const letter = await letterOf(await session(), id);
    terminal.data(letter, () => textOf(letter));
    return exitCodes.ok;
  },
};

function textOf(letter: DeadLetterRecord): string {
  return [
    `dead letter   ${letter.id}`,
    `message       ${letter.messageId}`,
    `subscription  ${letter.channel} / ${letter.subscription}`,
    `key           ${letter.key ?? '-'}`,
    `parked        ${new Date(letter.parkedAt).toISOString()}`,
    `group         ${letter.group}`,
    `reason        ${letter.reason}`,
    'history',
    ...letter.history.map(
      ({ attempt, at, kind, reason }) => `  ${attempt}  ${at}  ${kind}: ${reason.split('\n', 1)[0]}`,
    ),
    'stored',
    `  ${letter.raw}`,
  ]
    .map(printable)
    .join('\n');
}
