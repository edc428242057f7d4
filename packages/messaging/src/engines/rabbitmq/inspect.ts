/**
 * Counts over AMQP: a passive declare tells the ready messages and consumers of a queue, and no more. So `ready` and `deadLetters` are those of the
 * broker; `inFlight`, `waitingForKey`, `delayed`, `expired` and the age are those of THIS process; what waits on the ladder is not
 * counted, because its rungs are shared by all channels.
 */
import type { Channel, ChannelModel } from 'amqplib';
import type { ChannelView, EngineView, SubscriptionView } from '../../engine.ts';
import type { RabbitConsumer } from './consumer.ts';
import type { RabbitDeadLetters } from './dead-letters.ts';
import { unreachable } from './link.ts';
import type { Names } from './names.ts';
import type { KnownChannel, TopologyBook } from './topology.ts';

export interface InspectParts {
  readonly model: ChannelModel;
  readonly book: TopologyBook;
  readonly names: Names;
  readonly consumers: readonly RabbitConsumer[];
  readonly deadLetters: RabbitDeadLetters;
}

export async function inspectTopology(parts: InspectParts): Promise<EngineView> {
  const channel = await parts.model.createChannel();
  channel.on('error', () => {});
  try {
    const channels: ChannelView[] = [];
    for (const known of parts.book.channels.values()) {
      if (known.spec.ephemeral) continue;
      const subscriptions: SubscriptionView[] = [];
      for (const name of known.subscriptions.keys())
        subscriptions.push(await viewOf(parts, channel, known, name));
      channels.push({ name: known.spec.name, subscriptions, scheduled: 0 });
    }
    return { engine: 'rabbitmq', channels, storedBytes: undefined };
  } catch (error) {
    throw unreachable(`looking at the queues failed: ${(error as Error).message}`, error);
  } finally {
    await channel.close().catch(() => {});
  }
}

async function viewOf(
  { names, consumers, deadLetters }: InspectParts,
  channel: Channel,
  { spec }: KnownChannel,
  name: string,
): Promise<SubscriptionView> {
  let ready = 0;
  let consuming = 0;
  for (const queue of names.queues(spec, name)) {
    const { messageCount, consumerCount } = await channel.checkQueue(queue);
    ready += messageCount;
    consuming = Math.max(consuming, consumerCount);
  }
  const dead = await channel.checkQueue(names.dead(spec.name, name));
  const own = consumers.filter((one) => one.spec.channel === spec.name && one.spec.subscription === name);
  const view = { ready: 0, inFlight: 0, waiting: 0, delayed: 0 };
  let expired = 0;
  for (const consumer of own) {
    const mine = consumer.view();
    view.ready += mine.ready;
    view.inFlight += mine.inFlight;
    view.waiting += mine.waiting;
    view.delayed += mine.delayed;
    expired += consumer.expired;
  }
  return {
    name,
    ready: ready + view.ready,
    delayed: view.delayed,
    waitingForKey: view.waiting,
    inFlight: view.inFlight,
    oldestAgeMs: undefined,
    deadLetters: await deadLetters.groups(spec, name, dead),
    expired,
    // The partitions of a keyed subscription are shared out, so each queue sees one of its consumers.
    consumers: Math.max(consuming, ...own.map(({ memberCount }) => (consuming > 0 ? memberCount : 0))),
  };
}
