/** `inspect`: what waits, where, how long; `peek`: what it is. */
import { pause } from '../../clock.ts';
import type { EngineView, PeekedMessage, SubscriptionView } from '../../engine.ts';
import type { Command, CommandContext, Session } from '../command.ts';
import { onEngine } from '../exits.ts';
import { exitCodes } from '../failure.ts';
import { placeOf, placeOptions, wholeNumber } from '../filters.ts';
import { refuseNoneOfThem, tellMissing, tellUnnamed } from '../known.ts';
import type { Row } from '../terminal.ts';

const COLUMNS = [
  'channel',
  'subscription',
  'ready',
  'delayed',
  'key wait',
  'in flight',
  'oldest',
  'dead',
  'expired',
  'consumers',
];
const DEFAULT_WATCH_S = 2;

export const inspect: Command = {
  name: 'inspect',
  summary: 'shows channels, subscriptions, backlog and dead letters',
  details:
    'RabbitMQ and Kafka cannot list their channels: it shows what --channels names, as far as it is there. The embedded engine and Redis list what they store. Where nothing that --channels names is there it ends with code 2; what is missing beside others is named on stderr. Looking makes no channel and no subscription; on RabbitMQ the exchanges that the engine keeps for itself are made where they are missing.',
  arguments: [],
  options: {
    watch: { description: 'look again and again until Ctrl-C; with --json one document a line' },
    every: { value: '<seconds>', description: 'pause between two looks', standard: String(DEFAULT_WATCH_S) },
  },
  exits: {
    0: 'It showed what is there; with --watch, until Ctrl-C.',
    2: 'Wrong command line, a file that is not there, or nothing of what --channels names is there.',
    ...onEngine,
  },
  examples: [
    'inspect --url sqlite:./bus.db',
    'inspect --watch --every 5',
    'inspect --url amqp://localhost --channels ./channels.ts --json',
  ],
  async run(context) {
    const session = await context.session();
    const everyMs = wholeNumber(context.values, 'every', DEFAULT_WATCH_S, 1, 3_600) * 1_000;
    do {
      const view = await session.connection.inspect();
      refuseNoneOfThem(session, view);
      if (context.values.flag('watch')) context.terminal.clear();
      show(context, session, view);
      tellMissing(session, view, context.terminal);
      tellUnnamed(session, context.terminal);
      if (context.values.flag('watch')) await pause(context.clock, everyMs, context.signal);
    } while (context.values.flag('watch') && !context.signal.aborted);
    return exitCodes.ok;
  },
};

function show({ terminal }: CommandContext, { connection }: Session, view: EngineView): void {
  const rows = view.channels.flatMap(({ name, subscriptions }) =>
    subscriptions.length === 0 ? [{ channel: name }] : subscriptions.map((one) => rowOf(name, one)),
  );
  terminal.table(rows, COLUMNS, { ...view, capabilities: connection.capabilities });
  const scheduled = scheduledIn(view);
  const bytes =
    view.storedBytes === undefined ? '' : `, ${view.storedBytes.toLocaleString('en')} bytes stored`;
  terminal.say(`${view.engine} ${connection.capabilities.version}, ${scheduled}${bytes}`);
}

/** One channel of which it is not known makes the sum unknown. */
function scheduledIn({ channels }: EngineView): string {
  const counts = channels.flatMap(({ scheduled }) => scheduled ?? []);
  if (counts.length < channels.length) return 'scheduled: unknown';
  return `${counts.reduce((sum, one) => sum + one, 0)} scheduled`;
}

function rowOf(channel: string, view: SubscriptionView): Row {
  return {
    channel,
    subscription: view.name,
    ready: view.ready,
    delayed: view.delayed,
    'key wait': view.waitingForKey,
    'in flight': view.inFlight,
    oldest: view.oldestAgeMs === undefined ? undefined : ageText(view.oldestAgeMs),
    dead: view.deadLetters.reduce((sum, { count }) => sum + count, 0),
    expired: view.expired,
    consumers: view.consumers,
  };
}

const STEPS: readonly [unit: string, ms: number][] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
];

export function ageText(ms: number): string {
  const step = STEPS.find(([, size]) => ms >= size);
  return step ? `${Math.floor(ms / step[1])}${step[0]}` : `${Math.max(0, Math.round(ms))}ms`;
}

const PREVIEW = 120;

export const peek: Command = {
  name: 'peek',
  summary: 'shows what waits in a subscription, oldest first, without taking it',
  arguments: [],
  options: {
    ...placeOptions,
    limit: { value: '<n>', description: 'at most so many, 1 to 1,000', standard: '20' },
  },
  exits: {
    0: 'It showed what waits, also when nothing does.',
    2: 'Wrong command line, or a file, channel or subscription that is not there.',
    ...onEngine,
  },
  examples: [
    'peek --channel order.placed --subscription mailer --limit 5',
    'peek --channel order.placed --subscription mailer --url amqp://localhost --channels ./channels.ts',
  ],
  async run(context) {
    const session = await context.session();
    const { place } = await placeOf(context, session);
    const found = await session.connection.peek(place, wholeNumber(context.values, 'limit', 20, 1, 1_000));
    context.terminal.table(found.map(peekedRow), ['offset', 'id', 'key', 'time', 'data'], found);
    return exitCodes.ok;
  },
};

function peekedRow({ offset, message, raw }: PeekedMessage): Row {
  if (!message) return { offset, data: `(not a CloudEvent) ${raw.slice(0, PREVIEW)}` };
  const { id, key, time, data } = message;
  const text = data instanceof Uint8Array ? `(${data.length} bytes)` : JSON.stringify(data);
  return { offset, id, key, time, data: text?.slice(0, PREVIEW) };
}
