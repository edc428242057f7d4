/** The options that pick dead letters, and places of a subscription: read once, for every command that takes them. */
import type {
  DeadLetterFilter,
  DeadLetterRecord,
  ReplayPoint,
  SubscriptionName,
  SubscriptionView,
} from '../engine.ts';
import { isInFuture } from '../replay-point.ts';
import type { CommandContext, OptionSpecs, Session, Values } from './command.ts';
import { usage } from './failure.ts';

export const filterOptions: OptionSpecs = {
  channel: { value: '<name>', description: 'of this channel' },
  subscription: { value: '<name>', description: 'of this subscription' },
  group: { value: '<text>', description: 'of this cause, as "dead-letters groups" shows it' },
  key: { value: '<text>', description: 'of this key' },
  'message-id': {
    value: '<id>',
    description: 'of this message; may be given more than once',
    isMultiple: true,
  },
  before: { value: '<time>', description: 'parked before this time, ISO 8601' },
};

export const placeOptions: OptionSpecs = {
  channel: { value: '<name>', description: 'the channel', isRequired: true },
  subscription: { value: '<name>', description: 'the subscription', isRequired: true },
};

export function filterOf(values: Values): DeadLetterFilter {
  const before = values.text('before');
  const messageIds = values.texts('message-id');
  if (messageIds.includes(''))
    throw usage(
      '--message-id is empty, and every message without an id would match',
      'Pick those by --group, or one by its own id: dead-letters show, edit-and-redrive.',
    );
  const pick = (name: 'channel' | 'subscription' | 'group' | 'key') => {
    const value = values.text(name);
    return value === undefined ? {} : { [name]: value };
  };
  return {
    ...pick('channel'),
    ...pick('subscription'),
    ...pick('group'),
    ...pick('key'),
    ...(messageIds.length === 0 ? {} : { messageIds }),
    ...(before === undefined ? {} : { before: timeOf('--before', before) }),
  };
}

export function timeOf(option: string, text: string): number {
  const time = Date.parse(text);
  if (Number.isNaN(time))
    throw usage(`${option} ${text}: not a time`, 'Write it as ISO 8601, for instance 2026-11-28T09:00:00Z.');
  return time;
}

export function wholeNumber(
  values: Values,
  name: string,
  standard: number,
  low: number,
  high: number,
): number {
  const text = values.text(name);
  if (text === undefined) return standard;
  const value = Number(text);
  if (!Number.isInteger(value) || value < low || value > high)
    throw usage(
      `--${name} ${text}: not a whole number from ${low}${high === Number.MAX_SAFE_INTEGER ? '' : ` to ${high}`}`,
      standard === high ? 'Leave it out for no limit.' : `Leave it out for ${standard}.`,
    );
  return value;
}

/** Redis Pub/Sub knows no channel, declared or not: "not known, give --channels" would send whoever gave it round in circles. */
export function refuseNothingStored({ connection, engine }: Session): void {
  if (connection.capabilities.confirm !== 'none') return;
  throw usage(
    `nothing is stored on ${engine}, so nothing waits there and nothing is a dead letter`,
    'It hands a message to who listens at that moment and keeps none: there is nothing to look at, to replay or to mend. publish works.',
  );
}

/** A subscription that the engine or the module knows, and what is there of it: nothing is made by a typo. */
export async function placeOf(
  { values }: CommandContext,
  session: Session,
): Promise<{ readonly place: SubscriptionName; readonly view: SubscriptionView }> {
  const channel = values.text('channel') ?? '';
  const name = values.text('subscription') ?? '';
  refuseNothingStored(session);
  const view = await session.connection.inspect();
  const found = view.channels.find((one) => one.name === channel);
  if (!found)
    throw usage(
      `channel "${channel}" is not known to the engine`,
      `It knows: ${namesOf(view.channels)}. RabbitMQ and Kafka know what --channels declares.`,
    );
  const subscription = found.subscriptions.find((one) => one.name === name);
  if (!subscription)
    throw usage(
      `channel "${channel}" has no subscription "${name}"`,
      `It has: ${namesOf(found.subscriptions)}. On RabbitMQ and Kafka the module's "subscriptions" name them.`,
    );
  return { place: { channel, name }, view: subscription };
}

export function namesOf(views: readonly { readonly name: string }[]): string {
  return views.length === 0
    ? 'none'
    : views
        .map(({ name }) => name)
        .toSorted()
        .join(', ');
}

/** `earliest`, `latest`, `offset:<text>`, or a time that is not in the future. */
export function replayPointOf(text: string, now: number): ReplayPoint {
  if (text === 'earliest' || text === 'latest') return text;
  if (text.startsWith('offset:')) return { offset: text.slice('offset:'.length) };
  const timeMs = Date.parse(text);
  if (Number.isNaN(timeMs))
    throw usage(
      `--from ${text}: no place to go on from`,
      'Give earliest, latest, a time as ISO 8601 (2026-11-28T09:00:00Z), or offset:<offset> as peek shows it.',
    );
  if (isInFuture(timeMs, now))
    throw usage(
      `--from ${text}: a time in the future would skip all that waits`,
      'Look at the year and the zone. To skip all that waits, say so: --from latest.',
    );
  return { timeMs };
}

const PAGE = 200;

export async function* lettersOf(
  session: Session,
  filter: DeadLetterFilter,
): AsyncGenerator<DeadLetterRecord> {
  let after: string | undefined;
  for (;;) {
    const page = await session.deadLetters.list(filter, {
      limit: PAGE,
      ...(after === undefined ? {} : { after }),
    });
    yield* page;
    after = page.at(-1)?.id;
    if (after === undefined || page.length < PAGE) return;
  }
}

/** By the letter's id or its message's. */
export async function letterOf(session: Session, id: string): Promise<DeadLetterRecord> {
  if (id === '')
    throw usage('the id is empty', 'doorbuster-bus dead-letters list shows the ids of dead letters.');
  const [ofMessage] = await session.deadLetters.list({ messageIds: [id] }, { limit: 1 });
  if (ofMessage) return ofMessage;
  for await (const letter of lettersOf(session, {})) if (letter.id === id) return letter;
  throw usage(
    `there is no dead letter "${id}"`,
    'doorbuster-bus dead-letters list shows them; a redriven one is gone.',
  );
}
