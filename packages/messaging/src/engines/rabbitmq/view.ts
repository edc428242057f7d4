/**
 * Counts over AMQP: a passive declare tells the ready messages and consumers of a queue, and no more. So `ready` and `deadLetters` are those of the
 * broker; `inFlight`, `waitingForKey`, `delayed` and `expired` are those of THIS process; what waits on the ladder is not
 * counted, because its rungs are shared by all channels. The view says so (`partial`).
 *
 * The oldest age stays unknown. To look at the head of a queue is to take it and to give it back, which a quorum queue counts as a hand-out in vain, each second at
 * that, and a queue with a single active consumer refuses it. The oldest that this process holds would be a figure, but of a part: another process or the ladder may hold an older
 * one, and reconciliation, which asks whether a message may still wait here, would take that one for lost.
 */
import type { Channel, ChannelModel } from 'amqplib';
import type { Clock } from '../../clock.ts';
import type { ChannelView, EngineView, PartialCount, SubscriptionView } from '../../engine.ts';
import { closed } from './closing.ts';
import type { RabbitConsumer } from './consumer.ts';
import { NOTHING, patientCountOf, type QueueCount } from './counting.ts';
import type { RabbitDeadLetters } from './dead-letters.ts';
import { unreachable } from './link.ts';
import type { Names } from './names.ts';
import type { KnownChannel, TopologyBook } from './topology.ts';

const PARTIAL: readonly PartialCount[] = ['delayed', 'waitingForKey', 'inFlight', 'oldestAgeMs'];

export interface InspectParts {
  readonly clock: Clock;
  readonly model: ChannelModel;
  readonly book: TopologyBook;
  readonly names: Names;
  readonly consumers: readonly RabbitConsumer[];
  readonly deadLetters: RabbitDeadLetters;
}

export async function inspectTopology(parts: InspectParts): Promise<EngineView> {
  const look = new Look(parts);
  try {
    const channels: ChannelView[] = [];
    for (const known of parts.book.channels.values()) {
      if (known.spec.ephemeral) continue;
      const subscriptions: SubscriptionView[] = [];
      for (const name of known.subscriptions.keys())
        subscriptions.push(await viewOf(parts, look, known, name));
      channels.push({ name: known.spec.name, subscriptions, scheduled: undefined });
    }
    return { engine: 'rabbitmq', channels, storedBytes: undefined };
  } catch (error) {
    throw unreachable(`looking at the queues failed: ${(error as Error).message}`, error);
  } finally {
    await look.close();
  }
}

const NOT_FOUND = 404;
/** A view is looked at each second, and all of it is not worth waiting longer for busy queues. */
const LONGEST_COUNT_MS = 1_000;

/** Passive declares. One of a queue that is not there (being declared, or deleted by mistake) closes its channel, and counts as empty. */
class Look {
  readonly #parts: InspectParts;
  readonly #end: number;
  #channel: Channel | undefined;

  constructor(parts: InspectParts) {
    this.#parts = parts;
    this.#end = parts.clock.monotonic() + LONGEST_COUNT_MS;
  }

  /** Undefined when its leader is too busy to say so. */
  async at(queue: string): Promise<QueueCount | undefined> {
    try {
      this.#channel ??= await this.#open();
      const { clock } = this.#parts;
      return await patientCountOf({ clock, channel: this.#channel, queue }, this.#end - clock.monotonic());
    } catch (error) {
      if ((error as { code?: unknown }).code !== NOT_FOUND) throw error;
      this.#channel = undefined;
      return NOTHING;
    }
  }

  async close(): Promise<void> {
    if (this.#channel) await closed(this.#channel);
  }

  async #open(): Promise<Channel> {
    const channel = await this.#parts.model.createChannel();
    channel.on('error', () => {});
    return channel;
  }
}

async function viewOf(
  { names, consumers, deadLetters }: InspectParts,
  look: Look,
  { spec }: KnownChannel,
  name: string,
): Promise<SubscriptionView> {
  let ready = 0;
  let consuming = 0;
  let isAll = true;
  for (const queue of names.queues(spec, name)) {
    const counted = await look.at(queue);
    isAll &&= counted !== undefined;
    ready += counted?.messageCount ?? 0;
    consuming = Math.max(consuming, counted?.consumerCount ?? 0);
  }
  const dead = await look.at(names.dead(spec.name, name));
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
    consumers: own.reduce(
      (most, { memberCount }) => (consuming > 0 ? Math.max(most, memberCount) : most),
      consuming,
    ),
    partial: isAll ? PARTIAL : [...PARTIAL, 'ready'],
  };
}
