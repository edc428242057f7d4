/**
 * The bindings of a subscription on a routed channel. AMQP can add a binding and remove one, but not list them; so those in force are on record in
 * a small queue beside the subscription, and what was bound before can be removed by a process that knows nothing else.
 *
 *   new record --confirmed--> bind what is wanted --> unbind what any record names and nobody wants --> older records leave
 *
 * A crash anywhere leaves more than one record; together they name all that may be bound, and the next `declare` cleans up.
 */
import type { Channel, ConsumeMessage } from 'amqplib';
import type { ChannelSpec } from '../../engine.ts';
import { type Binding, isBinding } from '../../routing.ts';
import type { Browsed } from './browse.ts';
import type { Ladder } from './delay-ladder.ts';
import type { Names } from './names.ts';
import { readJson } from './read-json.ts';
import type { Parcel } from './wire.ts';
import { HEADER_PREFIX } from './wire.ts';

export interface BindingParts {
  readonly names: Names;
  readonly ladder: Ladder;
  readonly publish: (exchange: string, routingKey: string, parcel: Parcel) => Promise<void>;
  /** Looks through a queue, alone among all processes. */
  readonly browse: (queue: string, look: (browsed: Browsed) => Promise<void>) => Promise<void>;
}

export interface BindingTarget {
  readonly spec: ChannelSpec;
  readonly subscription: string;
  /** Undefined: those on record. */
  readonly wanted: readonly Binding[] | undefined;
}

/** Makes the broker's bindings those that are wanted. */
export function applyBindings(
  parts: BindingParts,
  channel: Channel,
  { spec, subscription, wanted }: BindingTarget,
): Promise<void> {
  const { names, publish } = parts;
  const record = names.bindings(spec.name, subscription);
  const links = linksOf(parts, spec, subscription);
  return parts.browse(record, async (browsed) => {
    // What is no record says nothing of what is bound, and stays: it is not ours to delete.
    const records = browsed.messages.flatMap((message) => {
      const bound = bindingsOn(message);
      return bound ? [[message, bound] as const] : [];
    });
    const latest = records.at(-1)?.[1] ?? [];
    const target = wanted ?? latest;
    const isOnRecord = records.length > 0 && sameBindings(latest, target);
    if (!isOnRecord) await publish('', record, recordOf(target));
    for (const { queue, exchange, key, args } of target.flatMap(links))
      await channel.bindQueue(queue, exchange, key, args);
    const kept = new Set(target.map(textOf));
    const outdated = records.flatMap(([, bound]) => bound).filter((one) => !kept.has(textOf(one)));
    for (const { queue, exchange, key, args } of outdated.flatMap(links))
      await channel.unbindQueue(queue, exchange, key, args);
    for (const [message] of isOnRecord ? records.slice(0, -1) : records) browsed.take(message);
  });
}

interface BrokerBinding {
  readonly queue: string;
  readonly exchange: string;
  readonly key: string;
  readonly args: Readonly<Record<string, string>>;
}

/** What one binding is on the broker: on the channel's exchange, and by keys also where the delay ladder ends. */
function linksOf({ names, ladder }: BindingParts, spec: ChannelSpec, subscription: string) {
  const exchange = names.exchange(spec.name);
  const queues = names.queues(spec, subscription);
  return (binding: Binding): BrokerBinding[] =>
    queues.flatMap((queue) => {
      if (typeof binding !== 'string') return [{ queue, exchange, key: '', args: argumentsOf(binding) }];
      const routing = spec.routing === 'topic' ? 'topic' : 'direct';
      const late = ladder.latePattern(exchange, { routing, text: binding });
      return [
        { queue, exchange, key: binding, args: {} },
        { queue, exchange: ladder.out, key: late, args: {} },
      ];
    });
}

function argumentsOf({ match, headers }: Exclude<Binding, string>): Record<string, string> {
  const named = Object.entries(headers).map(([name, value]) => [HEADER_PREFIX + name, value] as const);
  return { 'x-match': match, ...Object.fromEntries(named) };
}

function textOf(binding: Binding): string {
  if (typeof binding === 'string') return JSON.stringify(binding);
  return JSON.stringify([
    binding.match,
    Object.entries(binding.headers).toSorted(([a], [b]) => (a < b ? -1 : 1)),
  ]);
}

function sameBindings(some: readonly Binding[], others: readonly Binding[]): boolean {
  const [left, right] = [new Set(some.map(textOf)), new Set(others.map(textOf))];
  return left.size === right.size && [...left].every((one) => right.has(one));
}

function recordOf(bindings: readonly Binding[]): Parcel {
  return {
    content: Buffer.from(JSON.stringify(bindings)),
    options: { persistent: true, contentType: 'application/json' },
  };
}

/** Undefined for what is no record of ours. */
export function bindingsOn({ content }: ConsumeMessage): readonly Binding[] | undefined {
  const found = readJson(content);
  return Array.isArray(found) && found.every(isBinding) ? found : undefined;
}
