/**
 * Names in a filter that nothing has. Nothing found because of a typo must not look like nothing to do: it is said, with what there is. A subscription
 * that is gone may have left letters, which are asked for too. What is there and was moved before is gone: the same command again says so, and moves nothing.
 */
import type { DeadLetterFilter, EngineView } from '../engine.ts';
import type { Session } from './command.ts';
import { usage } from './failure.ts';
import { namesOf, refuseNothingStored } from './filters.ts';
import { listsSubscriptions } from './present.ts';
import type { Terminal } from './terminal.ts';

const SHOWN = 10;

/** "None" would be untrue of dead letters that nobody has looked at. */
export function refuseNothingThere({ nothingThere, engine, module }: Session): void {
  if (!nothingThere) return;
  const existing =
    engine === 'rabbitmq'
      ? ', or export "existing" where a channel stands for a queue or an exchange of others'
      : '';
  throw usage(
    `${engine} has no channel of --channels: ${namesOf(module.channels)}`,
    `Look at the URL and its prefix${existing}.`,
  );
}

/** An empty table would say of the names that were asked for that nothing waits there. An engine that stores nothing cannot tell. */
export function refuseNoneOfThem(session: Session, { channels }: EngineView): void {
  refuseNothingThere(session);
  const { module, engine, connection } = session;
  if (module.channels.length === 0 || connection.capabilities.confirm === 'none') return;
  if (module.channels.some((one) => channels.some(({ name }) => name === one.name))) return;
  throw usage(
    `${engine} has no channel of --channels: ${namesOf(module.channels)}`,
    `It has: ${namesOf(channels)}. Look at the URL and its prefix; without --channels all that is stored is shown.`,
  );
}

export const absenceOf = (names: readonly string[]): string =>
  `Not there under this URL and prefix: ${names.join(', ')}.`;

/**
 * What the module names beside what is there, on every engine that stores: a typo in it would otherwise look like a channel or a subscription that is not worth a
 * line. What was told when the session began is not told twice.
 */
export function tellMissing(
  { module, connection, absent }: Session,
  { channels }: EngineView,
  terminal: Terminal,
): void {
  if (connection.capabilities.confirm === 'none') return;
  const found = new Map(
    channels.map(({ name, subscriptions }) => [name, new Set(subscriptions.map((one) => one.name))]),
  );
  const missing = [
    ...module.channels.filter(({ name }) => !found.has(name)).map(({ name }) => name),
    ...module.subscriptions
      .filter(({ channel, name }) => found.get(channel.name)?.has(name) === false)
      .map(({ channel, name }) => `${channel.name} / ${name}`),
  ].filter((name) => !absent.includes(name));
  if (missing.length > 0) terminal.say(absenceOf(missing));
}

/** A channel without a line for its subscriptions, or no dead letter, would say that there are none. */
export function tellUnnamed({ engine, module, nothingThere }: Session, terminal: Terminal): void {
  if (listsSubscriptions(engine) || nothingThere || module.subscriptions.length > 0) return;
  terminal.say(
    `The module of --channels names no subscriptions, and ${engine} cannot list them, so none was looked at. Export "subscriptions": [{ channel, name }].`,
  );
}

/** What nobody notes looks to every later `reconcile` as if the engine had lost it. Told before it is done, and by a dry run. */
export function tellUnnoted({ module }: Session, terminal: Terminal): void {
  if (module.reconciliation === undefined || module.decisions !== undefined) return;
  terminal.say(
    'The module of --channels exports "reconciliation" and no "decisions", so this is noted nowhere, and reconcile takes it for lost from then on. Export "decisions" from it.',
  );
}

export async function refuseUnknown(session: Session, filter: DeadLetterFilter): Promise<void> {
  if (filter.channel === undefined) refuseNothingThere(session);
  const { channel, subscription, group, key, messageIds } = filter;
  if (Object.keys(filter).length > 0) refuseNothingStored(session);
  const place = {
    ...(channel === undefined ? {} : { channel }),
    ...(subscription === undefined ? {} : { subscription }),
  };
  const has = async (one: DeadLetterFilter): Promise<boolean> =>
    (await session.deadLetters.list(one, { limit: 1 })).length > 0;
  if (channel !== undefined || subscription !== undefined) await refuseUnknownPlace(session, place, has);
  if (group !== undefined && !(await has({ ...place, group })))
    throw usage(`no dead letter has the group "${group}"`, await groupsOf(session, place));
  if (key !== undefined && !(await has({ ...place, key })))
    throw usage(`no dead letter has the key "${key}"`, 'doorbuster-bus dead-letters list shows keys.');
  if (messageIds !== undefined && !(await has({ ...place, messageIds })))
    throw usage(
      `there is no dead letter of message ${messageIds.map((id) => `"${id}"`).join(', ')}`,
      'doorbuster-bus dead-letters list shows them; a redriven one is gone.',
    );
}

async function refuseUnknownPlace(
  { connection }: Session,
  place: { readonly channel?: string; readonly subscription?: string },
  has: (filter: DeadLetterFilter) => Promise<boolean>,
): Promise<void> {
  const { channel, subscription } = place;
  const { channels } = await connection.inspect();
  const found = channels.filter(({ name }) => channel === undefined || name === channel);
  if (found.length === 0 && channel !== undefined)
    throw usage(
      `channel "${channel}" is not known to the engine`,
      `It knows: ${namesOf(channels)}. RabbitMQ and Kafka know what --channels names and the server has.`,
    );
  const subscriptions = found.flatMap((one) => one.subscriptions);
  if (subscription === undefined || subscriptions.some(({ name }) => name === subscription)) return;
  if (await has(place)) return;
  throw usage(
    `${channel === undefined ? 'no channel' : `channel "${channel}"`} has ${channel === undefined ? 'a' : 'no'} subscription "${subscription}"`,
    `There ${subscriptions.length === 1 ? 'is' : 'are'}: ${namesOf(subscriptions)}. On RabbitMQ and Kafka the module's "subscriptions" name them.`,
  );
}

async function groupsOf(
  { deadLetters }: Session,
  { channel, subscription }: DeadLetterFilter,
): Promise<string> {
  const groups = (await deadLetters.groups()).filter(
    (one) =>
      (channel === undefined || one.channel === channel) &&
      (subscription === undefined || one.subscription === subscription),
  );
  const names = [...new Set(groups.map(({ group }) => group))];
  const more = names.length > SHOWN ? `, and ${names.length - SHOWN} more` : '';
  const shown = names.slice(0, SHOWN).map((name) => `"${name}"`);
  return names.length === 0
    ? 'There are no dead letters there.'
    : `There are: ${shown.join(', ')}${more}. doorbuster-bus dead-letters groups counts them.`;
}
