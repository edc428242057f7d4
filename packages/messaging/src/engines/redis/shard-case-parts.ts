/** What the cases of channels with shards are made of: consumers without a bus that collect, on one channel with order and one subscription of it. */
import assert from 'node:assert/strict';
import { systemClock } from '../../clock.ts';
import { sequenced } from '../../conformance/channels.ts';
import { Collector } from '../../conformance/fixture.ts';
import type { Consumer, Delivery, EngineConnection } from '../../engine.ts';
import type { RedisFixture } from './conformance-fixture.ts';
import { bare, shardOf, specOf } from './redis-case-parts.ts';

export const { name: channel } = sequenced;
export const one = { channel, name: 'one' };

export type Collecting = { readonly consumer: Consumer; readonly got: Collector<Delivery> };

export async function consume(
  connection: EngineConnection,
  prefetch = 10,
  leaseMs = 30_000,
): Promise<Collecting> {
  const got = new Collector<Delivery>();
  const spec = { channel, subscription: 'one', prefetch, leaseMs };
  const consumer = await connection.subscribe(spec, (all) => all.forEach((delivery) => got.add(delivery)));
  return { consumer, got };
}

export const open = (fixture: RedisFixture): Promise<EngineConnection> =>
  fixture.open().connect({ clock: systemClock, onFatal: () => {} });

export const declare = (connection: EngineConnection): Promise<void> =>
  connection.declare({ channels: [specOf(channel, 'key')], subscriptions: [one] });

export const publish = (connection: EngineConnection, ids: readonly string[]): Promise<unknown> =>
  connection.publish(
    ids.map((id) => ({ channel, message: { ...bare(channel), id, key: id.replace(/\d+$/, '') } })),
  );

export const idsOf = ({ got }: Collecting): readonly string[] =>
  got.values.map(({ message }) => message?.id ?? '');

/** Acknowledges what came as it comes, until so many have. */
export async function handleAll({ consumer, got }: Collecting, from: number, to: number): Promise<void> {
  for (let n = from; n < to; n += 1) {
    const { token } = (await got.waitFor(n + 1))[n] as Delivery;
    assert.deepEqual(await consumer.settle([{ kind: 'ack', token }]), ['settled']);
  }
}

/** A key for each shard. */
export function keysOfAllShards(fixture: RedisFixture): readonly string[] {
  const byShard = new Map<string, string>();
  for (let n = 0; byShard.size < fixture.shards; n += 1) {
    const key = String.fromCodePoint(97 + (n % 26)).repeat(1 + Math.floor(n / 26));
    byShard.set(shardOf(fixture, channel, key), key);
  }
  return [...byShard.values()];
}

export const numbered = (key: string, count: number): readonly string[] =>
  Array.from({ length: count }, (_, index) => `${key}${index + 1}`);

/** Consumer by shard, as the server has it. */
export async function ownersOf(fixture: RedisFixture): Promise<ReadonlyMap<string, string>> {
  const flat = (await fixture.raw(
    'HGETALL',
    `${fixture.prefix}:sub:${channel}:one:own`,
  )) as readonly string[];
  return new Map(flat.flatMap((shard, at) => (at % 2 === 0 ? [[shard, flat[at + 1] ?? '']] : [])));
}

export const withConnections = async (
  fixture: RedisFixture,
  count: number,
  run: (...connections: EngineConnection[]) => Promise<void>,
): Promise<void> => {
  const connections: EngineConnection[] = [];
  try {
    for (let n = 0; n < count; n += 1) connections.push(await open(fixture));
    await declare(connections[0] as EngineConnection);
    for (const other of connections.slice(1)) await declare(other);
    await run(...connections);
  } finally {
    await Promise.all(connections.map((connection) => connection.close()));
  }
};
