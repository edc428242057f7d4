/** `publish`: one message by hand; `replay`: a subscription back to a point in the log. */
import { rewindNoted } from '../../dead-letter-decisions.ts';
import type { OutgoingMessage, ReplayPoint, SubscriptionView } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import type { Message } from '../../message.ts';
import { type LooseOptions, makeMessage } from '../../outgoing.ts';
import type { Command, Session, Values } from '../command.ts';
import { onDecision, onEngine } from '../exits.ts';
import { CliFailure, exitCodes, usage } from '../failure.ts';
import { tellUnnoted } from '../known.ts';
import { channelAlone } from '../present.ts';
import { namesOf, placeOf, placeOptions, replayPointOf, wholeNumber } from '../filters.ts';

export const publish: Command = {
  name: 'publish',
  summary: 'publishes one message whose data is read from stdin or a file',
  details:
    'With --channels the contract of the channel checks it. Without, it goes to a channel that the engine already has, unchecked, and consumers will check it; RabbitMQ and Kafka need --channels.',
  arguments: [],
  options: {
    channel: { value: '<name>', description: 'the channel', isRequired: true },
    data: { value: '<file>', description: 'JSON of the data', standard: '- (stdin)' },
    key: { value: '<text>', description: 'partition key' },
    'routing-key': { value: '<text>', description: 'on channels with direct or topic routing' },
    id: { value: '<id>', description: 'of the message', standard: 'a new UUIDv7' },
    'correlation-id': { value: '<id>', description: 'conversation it belongs to' },
    header: { value: '<name=value>', description: 'may be given more than once', isMultiple: true },
    'contract-version': {
      value: '<n>',
      description: 'without --channels: version of the contract',
      standard: '1',
    },
    'dry-run': { description: 'check and print the message, publish nothing' },
  },
  exits: {
    0: 'The engine has confirmed the message; with --dry-run, it was checked and printed.',
    2: 'Wrong command line, a file or channel that is not there, or data that does not fit. Nothing was published.',
    ...onEngine,
  },
  examples: [
    `publish --channel order.placed --channels ./channels.ts <<< '{"orderId":"A-1","total":12.5}'`,
    'publish --channel order.placed --data order.json --dry-run --channels ./channels.ts',
  ],
  async run({ session, values, terminal, read }) {
    const path = values.text('data') ?? '-';
    const data = parseData(await read(path), path === '-' ? 'stdin' : path);
    const opened = await session();
    const name = values.text('channel') ?? '';
    const channel = opened.channel(name);
    const message = channel
      ? await makeMessage(opened.messageParts, channel, data, optionsOf(values))
      : await uncheckedMessage(opened, name, data, values);
    if (values.flag('dry-run')) {
      terminal.data(message, () => JSON.stringify(message, null, 2));
      terminal.say('Nothing was published.');
      return exitCodes.ok;
    }
    if (channel) await opened.connection.declare(channelAlone(channel));
    const outgoing: OutgoingMessage = { channel: name, message };
    const [confirmation] = await opened.connection.publish([outgoing]);
    terminal.data(confirmation, () => message.id);
    terminal.say(`stored: ${confirmation?.durability}`);
    return exitCodes.ok;
  },
};

function optionsOf(values: Values): LooseOptions {
  const given = (option: string, name: string) => {
    const value = values.text(option);
    return value === undefined ? {} : { [name]: value };
  };
  return {
    ...given('id', 'id'),
    ...given('key', 'key'),
    ...given('routing-key', 'routingKey'),
    ...given('correlation-id', 'correlationId'),
    headers: Object.fromEntries(values.texts('header').map(headerOf)),
  };
}

function headerOf(text: string): [string, string] {
  const at = text.indexOf('=');
  if (at < 1) throw usage(`--header ${text}: not name=value`, 'Write it as --header tenant=acme.');
  return [text.slice(0, at), text.slice(at + 1)];
}

/** No definition, so no contract: the engine has to know the channel, or a typo would vanish into one that nobody reads. */
async function uncheckedMessage(
  session: Session,
  name: string,
  data: unknown,
  values: Values,
): Promise<Message> {
  const { channels } = await session.connection.inspect();
  if (!channels.some((one) => one.name === name))
    throw usage(
      `channel "${name}" is not known to the engine`,
      `It knows: ${namesOf(channels)}. With --channels the module defines it.`,
    );
  const { clock, ids, source } = session.messageParts;
  const { id, key, routingKey, correlationId, headers = {} } = optionsOf(values);
  return {
    id: id ?? ids.next(),
    type: name,
    version: wholeNumber(values, 'contract-version', 1, 1, 1_000_000),
    source,
    time: new Date(clock.now()).toISOString(),
    data,
    headers,
    ...(key === undefined ? {} : { key }),
    ...(routingKey === undefined ? {} : { routingKey }),
    ...(correlationId === undefined ? {} : { correlationId }),
  };
}

export function parseData(text: string, from: string): unknown {
  if (text.trim() === '')
    throw usage(`${from}: no data`, 'Give one JSON value, for instance {"orderId":"A-1"}.');
  try {
    return JSON.parse(text);
  } catch (error) {
    throw usage(`${from}: not JSON: ${(error as Error).message}`, 'Give one JSON value.');
  }
}

export const replay: Command = {
  name: 'replay',
  summary:
    'moves a subscription to an earlier or a later point: what the channel keeps from there on is handled again, what waits before it is skipped',
  details:
    'The channel has to keep what was settled (requires: { replay: { keepMs } }). Stop the consumers of the subscription first. Handlers see settled messages again, and never what is skipped, so the name has to be repeated with --confirm; latest skips all that waits, and a time in the future is refused. --dry-run tells how many wait. Dead letters stay; their messages are handled again with the others, and one that fails again is a second dead letter of the same id. Where the module of --channels exports "decisions", it is noted there that messages may have been skipped: those before the time that is given, or, with latest or an offset, all until now.',
  arguments: [],
  options: {
    ...placeOptions,
    from: {
      value: '<point>',
      description: 'earliest, latest, a time (ISO 8601), or offset:<offset> as peek shows it',
      isRequired: true,
    },
    confirm: { value: '<subscription>', description: 'the name of the subscription' },
    'dry-run': {
      description: 'check all that the replay itself would, tell how many wait, and move nothing',
    },
  },
  exits: {
    ...onDecision,
    0: 'The subscription goes on from there; with --dry-run, it would.',
    1: 'A consumer of it is running, or its channel or engine keeps nothing to replay. Nothing was moved.',
    2: 'Wrong command line, not confirmed, a time in the future, or a file, channel, subscription or place that is not there. Nothing was moved.',
  },
  examples: [
    'replay --channel order.placed --subscription report --from 2026-11-28T00:00:00Z --confirm report',
  ],
  async run(context) {
    const { session, values, terminal } = context;
    const from = replayPointOf(values.text('from') ?? '', context.clock.now());
    const wanted = values.text('subscription') ?? '';
    if (!values.flag('dry-run') && values.text('confirm') !== wanted)
      throw usage(
        'handling messages again, or not at all, was not confirmed',
        `Repeat the name: --confirm ${wanted}`,
      );
    const opened = await session();
    const { place, view } = await placeOf(context, opened);
    const dryRun = values.flag('dry-run');
    if (from !== 'earliest') tellUnnoted(opened, terminal);
    try {
      if (dryRun) await opened.connection.rewind(place, from, { dryRun });
      else await rewindNoted(opened.connection, await opened.decisions(), place, from, context.clock.now());
    } catch (error) {
      throw withRemedy(error, opened);
    }
    const goesOn = `${place.channel} / ${place.name} ${dryRun ? 'would go' : 'goes'} on from ${values.text('from')}`;
    const answer = { ...place, from, moved: !dryRun };
    if (!dryRun) terminal.data(answer, () => goesOn);
    else {
      terminal.data({ ...answer, waiting: waitingIn(view) }, () => `${goesOn}; nothing was moved`);
      terminal.say(whatWaits(view, from));
    }
    return exitCodes.ok;
  },
};

function waitingIn({ ready, delayed, waitingForKey }: SubscriptionView): number {
  return ready + delayed + waitingForKey;
}

/** How many of them lie before a time or an offset no engine tells without reading them. */
function whatWaits(view: SubscriptionView, from: ReplayPoint): string {
  const isPart = view.partial?.some((count) => count !== 'inFlight' && count !== 'oldestAgeMs');
  const count = `${isPart ? 'At least ' : ''}${waitingIn(view)} waiting there now`;
  if (from === 'latest') return `${count}: all of it would be skipped.`;
  return `${count}: ${from === 'earliest' ? 'none of it' : 'what lies before that point'} would be skipped.`;
}

/** Where the engine could and the channel does not keep what was settled, the mending is the channel's. */
function withRemedy(error: unknown, { connection }: Session): unknown {
  const isChannels =
    error instanceof MessagingError &&
    error.code === 'DB_MSG_UNSUPPORTED_CAPABILITY' &&
    connection.capabilities.replay !== 'none';
  if (!isChannels) return error;
  return new CliFailure(
    exitCodes.failed,
    error.message,
    'Define the channel with requires: { replay: { keepMs } } and start its application; what is settled from then on can be replayed.',
    error.code,
  );
}
