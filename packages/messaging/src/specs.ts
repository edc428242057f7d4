/** What the engine is told of a channel and a subscription when they are declared. */
import type { Channel } from './channel.ts';
import type { ChannelSpec, SubscriptionSpec } from './engine.ts';
import { MessagingError } from './errors.ts';
import type { Binding } from './routing.ts';
import { faultOfForm, faultOfText } from './sound-text.ts';
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

/** What AMQP allows for a routing key and for the name of a header; held to on every engine, so that a channel can move. */
const TEXT_BYTES = 255;

/**
 * The bindings of a subscription, checked: the types refuse wrong ones already; JavaScript and widened types do not. Throws
 * DB_MSG_INVALID_OPTIONS, because a store keeps bindings for longer than the process that gave a bad one.
 */
export function bindingsOf(
  channel: Channel,
  bindings: readonly Binding[] | undefined,
): readonly Binding[] | undefined {
  const { routing } = channel.requires;
  const bad = (detail: string): never => {
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', `channel "${channel.name}": ${detail}`);
  };
  if (routing === undefined)
    return bindings === undefined ? undefined : bad('bindings need requires.routing');
  const given: unknown = bindings;
  if (!Array.isArray(given) || given.length === 0)
    return bad(`a subscription needs bindings for ${routing} routing: a list of ${SHAPES[routing]}`);
  for (const [index, one] of given.entries()) {
    const fault = routing === 'headers' ? faultOfHeaderBinding(one) : faultOfRoutingText(one);
    if (fault !== undefined) bad(`bindings[${index}] ${fault}; ${routing} routing takes ${SHAPES[routing]}`);
  }
  return bindings;
}

const SHAPES = {
  direct: 'routing keys (texts)',
  topic: 'patterns (texts)',
  headers: "{ match: 'all' or 'any', headers: { name: text } }",
} as const;

/** Of a routing key, a pattern or the name of a header. */
function faultOfRoutingText(value: unknown): string | undefined {
  const fault = faultOfText(value);
  if (fault !== undefined) return fault;
  return Buffer.byteLength(value as string) > TEXT_BYTES ? `has at most ${TEXT_BYTES} bytes` : undefined;
}

function faultOfHeaderBinding(value: unknown): string | undefined {
  if (!isRecord(value)) return 'is no object';
  const { match, headers } = value;
  if (match !== 'all' && match !== 'any') return "has a match that is neither 'all' nor 'any'";
  if (!isRecord(headers)) return 'has no headers';
  const entries = Object.entries(headers);
  if (entries.length === 0) return 'names no header';
  for (const [name, wanted] of entries) {
    const fault = faultOfRoutingText(name);
    if (fault !== undefined) return `has a header whose name ${fault}`;
    const ofValue = faultOfForm(wanted);
    if (ofValue !== undefined) return `has a header "${name}" whose value ${ofValue}`;
  }
  return undefined;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
