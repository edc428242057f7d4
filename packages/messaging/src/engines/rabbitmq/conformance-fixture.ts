/** The RabbitMQ engine's fixture for the conformance suite: a prefix of its own, everything deleted at the end. The server is `RABBITMQ_URL`. */
import { connect } from 'amqplib';
import Type from 'typebox';
import { type Bus, createBus } from '../../bus.ts';
import { type Channel, defineChannel } from '../../channel.ts';
import { type Clock, systemClock } from '../../clock.ts';
import type { EngineFixture } from '../../conformance/fixture.ts';
import type { Engine } from '../../engine.ts';
import { createIds } from '../../ids.ts';
import { createCutter } from './cutter.ts';
import { createLadder } from './delay-ladder.ts';
import { createRabbitEngine, type RabbitEngineOptions } from './engine.ts';

const ids = createIds(systemClock);

export const rabbitUrl = process.env.RABBITMQ_URL;

/** Shared by the fixtures of one file: its queues are the same for all, and making 24 of them for each case would be most of the time. */
const LADDER = 'conformance.';

export const PARTITIONS = 4;

/** What a child process of the kill cases opens: the argument is the prefix and, where it is not the engine's own, the heartbeat in seconds behind a bar. */
export function openEngine(argument: string): Engine {
  const [prefix = '', heartbeat] = argument.split('|');
  const url = new URL(rabbitUrl ?? '');
  if (heartbeat !== undefined) url.searchParams.set('heartbeat', heartbeat);
  return createRabbitEngine({ url: url.href, prefix, ladderPrefix: LADDER, partitions: PARTITIONS });
}

export type RabbitFixture = EngineFixture & {
  readonly prefix: string;
  readonly engine: (options?: Partial<RabbitEngineOptions>) => Engine;
};

export interface FixturePlace {
  readonly ladderPrefix?: string;
  /** Default: the server of `RABBITMQ_URL`. */
  readonly url?: string;
  /** Where the server is the fixture's own. */
  readonly restartServer?: () => Promise<void>;
}

export async function createRabbitFixture({
  ladderPrefix = LADDER,
  url = rabbitUrl ?? '',
  restartServer,
}: FixturePlace = {}): Promise<RabbitFixture> {
  const cutter = await createCutter(url);
  const prefix = `test-${ids.next()}.`;
  const made = new Set<string>();
  const engine = (options: Partial<RabbitEngineOptions> = {}): Engine =>
    createRabbitEngine({
      url: cutter.url,
      prefix,
      ladderPrefix,
      partitions: PARTITIONS,
      ...options,
      onNotice: (notice) => {
        if (notice.kind === 'declared') made.add(notice.name);
        options.onNotice?.(notice);
      },
    });
  return {
    prefix,
    engine,
    open: () => engine(),
    child: { module: new URL(import.meta.url), argument: prefix },
    breakConnections: async () => cutter.slam(),
    ...(restartServer && { restartServer }),
    async injectRaw(channel, payload) {
      await onBroker(async (amqp) => {
        amqp.publish(`${prefix}${channel}`, '', Buffer.from(payload));
        await amqp.waitForConfirms();
      }, url);
    },
    async destroy() {
      await cutter.close();
      await onBroker(async (amqp) => {
        for (const name of made) {
          // An exchange and a queue may share a name, and deleting what is not there is no error.
          await amqp.deleteQueue(name);
          await amqp.deleteExchange(name);
        }
      }, url);
    },
  };
}

const schema = Type.Object({ n: Type.Integer() });
export const orders = defineChannel({ name: 'orders', version: 1, schema });
export const inOrder = defineChannel({
  name: 'in.order',
  version: 1,
  schema,
  order: 'key',
  requires: { emulation: ['order'] },
});
export const blocking = defineChannel({
  name: 'blocking',
  version: 1,
  schema,
  order: 'key',
  onFailure: 'blockKey',
  requires: { emulation: ['order'] },
});

export async function withFixture(
  place: FixturePlace,
  use: (fixture: RabbitFixture) => Promise<void>,
): Promise<void> {
  const fixture = await createRabbitFixture(place);
  try {
    await use(fixture);
  } finally {
    await fixture.destroy();
  }
}

export async function withBus(
  engine: Engine,
  channels: readonly Channel[],
  use: (bus: Bus) => Promise<void>,
  clock?: Clock,
): Promise<void> {
  const bus = createBus({ engine, source: '/rabbit', ...(clock && { clock }) });
  bus.declare(channels);
  await bus.start();
  try {
    await use(bus);
  } finally {
    await bus.stop({ drainMs: 1_000 });
  }
}

/** After the last fixture. */
export async function removeLadder(prefix = LADDER): Promise<void> {
  await onBroker((amqp) => createLadder(prefix).remove(amqp));
}

type ConfirmChannel = Awaited<ReturnType<Awaited<ReturnType<typeof connect>>['createConfirmChannel']>>;

export async function onBroker<T>(
  work: (channel: ConfirmChannel) => Promise<T>,
  url = rabbitUrl ?? '',
): Promise<T> {
  const model = await connect(url);
  try {
    const channel = await model.createConfirmChannel();
    channel.on('error', () => {});
    return await work(channel);
  } finally {
    await model.close();
  }
}
