/** What the engine is told of a channel and a subscription when they are declared. */
import type { Channel } from './channel.ts';
import type { ChannelSpec, SubscriptionSpec } from './engine.ts';
import { MessagingError } from './errors.ts';
import type { Binding } from './routing.ts';
import type { SubscriptionSettings } from './subscription.ts';

export function specOf(channel: Channel): ChannelSpec {
  return {
    name: channel.name,
    order: channel.order,
    onFailure: channel.onFailure,
    priorityLevels: channel.requires.priority?.levels ?? 1,
    ephemeral: false,
    routing: channel.requires.routing ?? 'fanout',
    keepMs: channel.requires.replay?.keepMs,
  };
}

export function specOfSubscription({
  channel,
  name,
  bindings,
}: Pick<SubscriptionSettings, 'channel' | 'name' | 'bindings'>): SubscriptionSpec {
  return { channel: channel.name, name, ...(bindings === undefined ? {} : { bindings }) };
}

/** The types refuse these already; JavaScript and widened types do not. */
export function bindingsOf(
  channel: Channel,
  bindings: readonly Binding[] | undefined,
): readonly Binding[] | undefined {
  const { routing } = channel.requires;
  const fits = (one: Binding): boolean => (typeof one === 'string') === (routing !== 'headers');
  if (
    routing === undefined
      ? bindings === undefined
      : bindings !== undefined && bindings.length > 0 && bindings.every(fits)
  )
    return bindings;
  throw new MessagingError(
    'DB_MSG_INVALID_OPTIONS',
    routing === undefined
      ? `channel "${channel.name}": bindings need requires.routing`
      : `channel "${channel.name}": a subscription needs bindings for ${routing} routing: ${routing === 'headers' ? '{ match, headers }' : 'texts'}`,
  );
}
