/** What the cases peculiar to Redis are made of: a bus on a fixture, consumers that collect, and watches on the order of keys. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { type Bus, createBus } from '../../bus.ts';
import { plain, sequenced } from '../../conformance/channels.ts';
import { Collector, eventually } from '../../conformance/fixture.ts';
import type { ChannelSpec, Consumer, Delivery, EngineConnection } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import type { Message } from '../../message.ts';
import { ack } from '../../outcome.ts';
import type { RedisClient } from '../../redis/client.ts';
import type { RedisFixture } from './conformance-fixture.ts';
import { digestOf } from './scripts.ts';

export interface RedisCase {
  readonly name: string;
  readonly run: (fixture: RedisFixture) => Promise<void>;
}

export const streamOf = ({ prefix }: Pick<RedisFixture, 'prefix'>, channel: string): string =>
  `${prefix}:stream:${channel}`;

/** Where what has this key lies. */
export function shardOf(
  fixture: Pick<RedisFixture, 'prefix' | 'shards'>,
  channel: string,
  key: string,
): string {
  if (fixture.shards === 0) return streamOf(fixture, channel);
  const hash = Number.parseInt(createHash('sha1').update(key).digest('hex').slice(0, 8), 16);
  return `${streamOf(fixture, channel)}:${1 + (hash % fixture.shards)}`;
}

export async function busOn(fixture: RedisFixture, prepare: (bus: Bus) => void = () => {}): Promise<Bus> {
  const bus = createBus({ engine: fixture.open(), source: '/redis' });
  bus.declare([plain, sequenced]);
  prepare(bus);
  await bus.start();
  return bus;
}

export async function publishNumbers(bus: Bus, from: number, to: number): Promise<void> {
  await bus.publishBatch(
    plain,
    Array.from({ length: to - from + 1 }, (_, index) => ({ data: { n: from + index } })),
  );
}

/** Publishes again, with the same id, what was refused for now: what an outbox's relay does. */
export async function publishUntilDone(bus: Bus, key: string, n: number): Promise<void> {
  const id = `${key}-${n}`;
  await eventually(
    () =>
      bus.publish(sequenced, { n }, { key, id }).then(
        () => true,
        (error: { retryable?: boolean }) => {
          assert.equal(error.retryable, true, String(error));
          return false;
        },
      ),
    (done) => done,
    `publishing ${id}`,
  );
}

/** Watches keyed handlers: one of a key at a time, and each new message of a key after the one before. */
export class OrderWatch {
  readonly seen = new Collector<string>();
  readonly #last = new Map<string, number>();
  readonly #out = new Set<string>();
  readonly faults: string[] = [];

  async handle(key: string, n: number): Promise<void> {
    if (this.#out.has(key)) this.faults.push(`two of ${key} at once`);
    this.#out.add(key);
    await new Promise((resolve) => setImmediate(resolve));
    this.#out.delete(key);
    const last = this.#last.get(key) ?? 0;
    // At least once: an older one may come again, but none may be left out.
    if (n > last + 1) this.faults.push(`${key}: ${n} after ${last}`);
    if (n <= last) return;
    this.#last.set(key, n);
    this.seen.add(`${key}${n}`);
  }
}

export function subscribeWatched(bus: Bus, watch: OrderWatch): void {
  bus.subscribe(sequenced, {
    name: 'one',
    concurrency: 4,
    leaseMs: 30_000,
    handler: async ({ key = '', data }) => {
      await watch.handle(key, data.n);
      return ack();
    },
  });
}

/** Throws away the first answer that carries messages to a subscription called `one`. */
export const losing =
  (lost: { entries: number }, command: string) =>
  (client: RedisClient): RedisClient => ({
    ...client,
    async send(args) {
      const reply = (await client.send(args)) as readonly unknown[] | null;
      const given = command === 'EVAL' ? reply?.[0] : (reply?.[0] as readonly unknown[] | undefined)?.[1];
      const isAnswer = args[0]?.startsWith(command) && (command !== 'EVAL' || args[6] === 'one');
      if (!isAnswer || lost.entries > 0 || !Array.isArray(given) || given.length === 0) return reply;
      lost.entries += given.length;
      throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', 'the answer was lost');
    },
  });

export const isCallOf = (name: 'claim' | 'giveUpShards' | 'settle', args: readonly string[]): boolean =>
  args[1] === digestOf(name);

type Collecting = Consumer & { readonly got: Collector<Delivery> };

/** One message of a key, at a consumer without a bus. */
export async function keyedConsumer(connection: EngineConnection, leaseMs: number): Promise<Collecting> {
  const { name: channel } = sequenced;
  await connection.declare({
    channels: [specOf(channel, 'key')],
    subscriptions: [{ channel, name: 'one' }],
  });
  await connection.publish([{ channel, message: { ...bare(channel), key: 'a' } }]);
  return collecting(connection, channel, leaseMs);
}

/** A consumer without a bus on a channel without keys. */
export async function plainConsumer(connection: EngineConnection, leaseMs: number): Promise<Collecting> {
  const { name: channel } = plain;
  await connection.declare({
    channels: [specOf(channel, 'none')],
    subscriptions: [{ channel, name: 'one' }],
  });
  return collecting(connection, channel, leaseMs);
}

async function collecting(
  connection: EngineConnection,
  channel: string,
  leaseMs: number,
): Promise<Collecting> {
  const got = new Collector<Delivery>();
  const consumer = await connection.subscribe(
    { channel, subscription: 'one', prefetch: 10, leaseMs },
    (deliveries) => deliveries.forEach((one) => got.add(one)),
  );
  return {
    got,
    settle: (settlements) => consumer.settle(settlements),
    extend: (tokens) => consumer.extend(tokens),
    pause: () => consumer.pause(),
    close: () => consumer.close(),
  };
}

export const bare = (channel: string): Message => ({
  id: 'm',
  type: channel,
  version: 1,
  source: '/s',
  time: '',
  data: { n: 1 },
  headers: {},
});

export const specOf = (name: string, order: 'none' | 'key'): ChannelSpec => ({
  name,
  order,
  onFailure: order === 'key' ? 'sequencedDlq' : 'skip',
  priorityLevels: 1,
  ephemeral: false,
  routing: 'fanout',
  keepMs: undefined,
});
