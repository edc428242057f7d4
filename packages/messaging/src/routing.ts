/**
 * Routing within a channel, in the words of AMQP: a subscription names by bindings what it wants. Engines that route by themselves
 * (RabbitMQ, embedded) get the bindings; for the others this file says what a binding takes, and is what the
 * conformance suite holds all of them to.
 */
import type { Message } from './message.ts';

/** `fanout` is the default: every subscription gets everything. */
export type RoutingKind = 'fanout' | 'direct' | 'topic' | 'headers';

/**
 * `direct`: a routing key. `topic`: a pattern of words joined by dots, where `*` stands for one word and `#` for any number of them.
 * `headers`: names and values, of which all or one have to be there.
 */
export type Binding = string | HeadersBinding;

export interface HeadersBinding {
  readonly match: 'all' | 'any';
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * Whether one of the bindings takes the message. One that is of no known shape, which a store may have kept from another version, takes
 * nothing: it must not end the process that reads it.
 */
export function isBound(
  routing: RoutingKind,
  bindings: readonly Binding[],
  message: Pick<Message, 'routingKey' | 'headers'>,
): boolean {
  if (routing === 'fanout') return true;
  return Array.isArray(bindings) && bindings.some((binding) => takes(routing, binding, message));
}

function takes(
  routing: RoutingKind,
  binding: Binding,
  { routingKey = '', headers }: Pick<Message, 'routingKey' | 'headers'>,
): boolean {
  if (typeof binding !== 'string')
    return routing === 'headers' && isReadable(binding) && hasHeaders(binding, headers);
  if (routing === 'direct') return binding === routingKey;
  return routing === 'topic' && fitsPattern(binding.split('.'), routingKey.split('.'));
}

/** Whether what a store has is a binding of one kind or the other. */
export function isBinding(found: unknown): found is Binding {
  if (typeof found === 'string') return true;
  if (typeof found !== 'object' || found === null || !isReadable(found)) return false;
  const { match, headers } = found;
  return (
    (match === 'all' || match === 'any') && Object.values(headers).every((one) => typeof one === 'string')
  );
}

function isReadable(binding: Partial<HeadersBinding> | null): binding is HeadersBinding {
  return typeof binding?.headers === 'object' && binding.headers !== null;
}

function hasHeaders(
  { match, headers: wanted }: HeadersBinding,
  headers: Readonly<Record<string, string>>,
): boolean {
  const names = Object.keys(wanted);
  const there = (name: string): boolean => headers[name] === wanted[name];
  return match === 'all' ? names.every(there) : names.some(there);
}

/** Word by word from the left; each `#` tries every length, which is short because keys have at most 255 bytes. */
function fitsPattern(pattern: readonly string[], words: readonly string[]): boolean {
  let reachable = new Set([0]);
  for (const part of pattern) {
    const next = new Set<number>();
    for (const at of reachable) {
      if (part === '#') for (let to = at; to <= words.length; to += 1) next.add(to);
      else if (at < words.length && (part === '*' || part === words[at])) next.add(at + 1);
    }
    reachable = next;
  }
  return reachable.has(words.length);
}
