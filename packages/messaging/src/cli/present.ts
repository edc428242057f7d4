/**
 * What of a module is really there, on engines that know only what was declared to them (RabbitMQ, Kafka). Declaring makes what is missing, and
 * whoever looks must not make anything: a subscription that nobody reads keeps its backlog for ever. So the servers are asked first, in the only
 * ways that change nothing (a passive declare, a listing of topics), and only what they have is declared to the connection.
 * The names are those of the engines' wire, written out because the engines are not imported here; look.int.test.ts holds them to it.
 * Not for engines that list what they store: those are looked at without declaring anything.
 */
import type { Channel } from '../channel.ts';
import type { ChannelSpec, SubscriptionName, Topology } from '../engine.ts';
import { specOf } from '../specs.ts';
import type { ChannelsModule } from './channels-module.ts';

export interface Present {
  readonly topology: Topology;
  /** For people: channels and subscriptions of the module that the server does not have. */
  readonly absent: readonly string[];
}

/** Engines by their name whose connection lists what was declared to it, and no more. */
const BLIND = ['rabbitmq', 'kafka'];

export const canList = (engine: string): boolean => !BLIND.includes(engine);

/** Kafka's groups are found by the names of their channels; AMQP has no way to ask what is bound to an exchange. */
export const listsSubscriptions = (engine: string): boolean => engine !== 'rabbitmq';

/** Of `existing`: one of the two. */
interface Place {
  readonly queue?: string;
  readonly exchange?: string;
}

const NOT_FOUND = 404;
const CONNECT_TIMEOUT_MS = 5_000;

/** The module's topology as far as it exists. Called when the engine has connected, so that a server out of reach was told by it. */
export async function presentOn(engine: string, url: string, module: ChannelsModule): Promise<Present> {
  const { address, prefix } = addressOf(url);
  return engine === 'kafka' ? onKafka(address, prefix, module) : onRabbit(address, prefix, module);
}

/** Both engines begin their names with `doorbuster.` unless told otherwise. */
function addressOf(url: string): { readonly address: string; readonly prefix: string } {
  const [address = '', query = ''] = url.split('?', 2);
  const rest = new URLSearchParams(query);
  const prefix = rest.get('prefix') ?? 'doorbuster.';
  rest.delete('prefix');
  return { address: rest.size === 0 ? address : `${address}?${rest.toString()}`, prefix };
}

/** The engine finds the subscriptions of a channel itself, so none is declared, nor told as absent. */
async function onKafka(address: string, prefix: string, module: ChannelsModule): Promise<Present> {
  const { Admin } = await import('@platformatic/kafka');
  const bootstrapBrokers = address.split(',').map((one) => one.replace(/^kafka:\/\//, '').replace(/\/$/, ''));
  const admin = new Admin({ clientId: 'doorbuster', bootstrapBrokers, connectTimeout: CONNECT_TIMEOUT_MS });
  try {
    const topics = new Set(await admin.listTopics());
    return sorted(
      module,
      (spec) => topics.has(prefix + spec.name),
      () => false,
      false,
    );
  } finally {
    await admin.close();
  }
}

async function onRabbit(address: string, prefix: string, module: ChannelsModule): Promise<Present> {
  const { connect } = await import('amqplib');
  const model = await connect(address, { timeout: CONNECT_TIMEOUT_MS });
  model.on('error', () => {});
  /** A passive declare of what is not there closes its channel, so each has one of its own. */
  const there = async (what: 'checkQueue' | 'checkExchange', name: string): Promise<boolean> => {
    const channel = await model.createChannel();
    channel.on('error', () => {});
    try {
      await channel[what](name);
      await channel.close();
      return true;
    } catch (error) {
      if ((error as { code?: unknown }).code === NOT_FOUND) return false;
      throw error;
    }
  };
  try {
    const found = new Set<string>();
    for (const { name } of module.channels) {
      const { queue, exchange = prefix + name }: Place = module.existing[name] ?? {};
      if (await (queue === undefined ? there('checkExchange', exchange) : there('checkQueue', queue)))
        found.add(name);
    }
    for (const { channel, name } of module.subscriptions) {
      const { queue: foreign }: Place = module.existing[channel.name] ?? {};
      const own = `${prefix}${channel.name}/s/${encodeURIComponent(name)}`;
      // Its first queue, because dead letters outlive a subscription that was forgotten. Of a queue of others only the place of its dead letters is ours.
      const queue = foreign === undefined ? `${own}${channel.order === 'key' ? '/0' : ''}` : `${own}/dead`;
      if (found.has(channel.name) && (await there('checkQueue', queue))) found.add(`${channel.name}/${name}`);
    }
    return sorted(
      module,
      (spec) => found.has(spec.name),
      ({ channel, name }) => found.has(`${channel}/${name}`),
    );
  } finally {
    await model.close();
  }
}

function sorted(
  module: ChannelsModule,
  isChannel: (spec: ChannelSpec) => boolean,
  isSubscription: (subscription: SubscriptionName) => boolean,
  hasSubscriptions = true,
): Present {
  const channels = module.channels.map(specOf);
  const subscriptions = namedIn(module);
  const hasChannel = new Set(channels.filter(isChannel).map(({ name }) => name));
  const isThere = (one: SubscriptionName): boolean => hasChannel.has(one.channel) && isSubscription(one);
  return {
    topology: {
      channels: channels.filter(({ name }) => hasChannel.has(name)),
      subscriptions: subscriptions.filter(isThere),
    },
    absent: [
      ...channels.filter(({ name }) => !hasChannel.has(name)).map(({ name }) => name),
      ...subscriptions
        .filter((one) => hasSubscriptions && hasChannel.has(one.channel) && !isThere(one))
        .map(({ channel, name }) => `${channel} / ${name}`),
    ],
  };
}

/** All of the module, as its application declares it. */
export function topologyOf(module: ChannelsModule): Topology {
  return { channels: module.channels.map(specOf), subscriptions: namedIn(module) };
}

export function channelAlone(channel: Channel): Topology {
  return { channels: [specOf(channel)], subscriptions: [] };
}

function namedIn({ subscriptions }: ChannelsModule): readonly SubscriptionName[] {
  return subscriptions.map(({ channel, name }) => ({ channel: channel.name, name }));
}
