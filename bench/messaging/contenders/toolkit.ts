/** The toolkit on one of its engines, used as its README says: a channel with a contract, `publish`, a handler that returns `ack()`. */
import { join } from 'node:path';
import { ack, type Channel, createBus, defineChannel, type Engine } from '@doorbuster/messaging';
import { Type } from 'typebox';
import {
  channelName,
  type Contender,
  type ContenderSetting,
  keyOf,
  type OpenContender,
  type OrderPlaced,
  orderOf,
  subscriptionName,
} from '../contender.ts';

const schema = Type.Object({
  n: Type.Integer(),
  orderId: Type.String(),
  customer: Type.String(),
  lines: Type.Array(Type.Object({ sku: Type.String(), quantity: Type.Integer(), price: Type.Number() })),
  note: Type.String(),
});

const orderPlaced = defineChannel({ name: channelName, version: 1, schema });
const orderPlacedByKey = defineChannel({
  name: channelName,
  version: 1,
  schema,
  order: 'key',
  requires: { emulation: ['order'] },
});

const rowsPerFill = 500;

type EngineOf = (setting: ContenderSetting) => Promise<Engine>;

const engines: Readonly<Record<string, EngineOf>> = {
  async embedded({ folder }) {
    const { createEmbeddedEngine } = await import('@doorbuster/messaging/engines/embedded');
    return createEmbeddedEngine({ path: join(folder, 'bus.sqlite') });
  },
  async rabbitmq({ url, prefix }) {
    const { createRabbitEngine } = await import('@doorbuster/messaging/engines/rabbitmq');
    // The rungs of the delay ladder are made once for the whole run, not for each process.
    return createRabbitEngine({ url, prefix, ladderPrefix: ladderPrefixOf(prefix) });
  },
  async redis({ url, prefix }) {
    const { createRedisEngine } = await import('@doorbuster/messaging/engines/redis');
    return createRedisEngine({ url, prefix });
  },
  async kafka({ url, prefix }) {
    // By a name that the compiler does not follow: the bench also runs where this engine is not part of the package yet.
    const path: string = '@doorbuster/messaging/engines/kafka';
    const { createKafkaEngine } = (await import(path)) as {
      createKafkaEngine: (options: { url: string; prefix: string }) => Engine;
    };
    return createKafkaEngine({ url, prefix });
  },
};

/** Prefixes are `<run>-<number>.`; the ladder belongs to the run. */
export const ladderPrefixOf = (prefix: string): string => `${prefix.split('-')[0] ?? prefix}.`;

export const openToolkit =
  (engineName: string): OpenContender =>
  async (setting) => {
    const engineOf = engines[engineName];
    if (!engineOf) throw new Error(`no engine "${engineName}"`);
    const bus = createBus({ engine: await engineOf(setting), source: '/bench' });
    const channel: Channel = setting.keyed ? orderPlacedByKey : orderPlaced;
    const optionsOf = (n: number) => (setting.keyed ? { key: keyOf(n) } : undefined);
    function itemOf(n: number) {
      const options = optionsOf(n);
      return options ? { data: orderOf(n), options } : { data: orderOf(n) };
    }
    bus.declare([channel]);
    // The subscription has to exist before there are messages for it; nobody consumes yet.
    const first = bus.subscribe(channel, { name: subscriptionName, handler: () => ack() });
    await bus.start();
    await first.stop();
    const contender: Contender = {
      publish: async (n) => void (await bus.publish(channel, orderOf(n), optionsOf(n))),
      async fill(count) {
        for (let from = 0; from < count; from += rowsPerFill) {
          const length = Math.min(rowsPerFill, count - from);
          await bus.publishBatch(
            channel,
            Array.from({ length }, (_, index) => itemOf(from + index)),
          );
        }
      },
      async consume(handled) {
        await bus.subscribe(channel, {
          name: subscriptionName,
          concurrency: setting.concurrency,
          handler: ({ data }) => {
            handled((data as OrderPlaced).n);
            return ack();
          },
        }).started;
      },
      close: () => bus.stop({ drainMs: 2_000 }),
    };
    return contender;
  };
