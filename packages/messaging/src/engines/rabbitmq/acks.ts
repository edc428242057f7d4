/**
 * Acknowledgements of one channel, sent as few commands. Not only for speed: messages that were settled one by one in a burst came again when the channel
 * was closed right behind. The likely reason, which was not shown by itself: inside the broker a quorum queue's client holds back what exceeds
 * 32 commands under way, and forgets it with the channel. One `multiple` acknowledgement for all up to a tag is one command.
 */
import type { Channel, ConsumeMessage } from 'amqplib';

export class Acks {
  readonly #channel: Channel;
  /** Settled, and the broker does not know yet. */
  #pending: ConsumeMessage[] = [];
  /** Settled tags above the watermark. */
  readonly #done = new Set<number>();
  /** Every tag up to it is settled. */
  #watermark = 0;
  #planned = false;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  ack(message: ConsumeMessage): void {
    this.#pending.push(message);
    this.#mark(message.fields.deliveryTag);
    if (this.#planned) return;
    this.#planned = true;
    queueMicrotask(() => this.flush());
  }

  /** Back to the queue, to its old place. */
  giveBack(message: ConsumeMessage): void {
    this.flush();
    this.#mark(message.fields.deliveryTag);
    this.#channel.nack(message, false, true);
  }

  flush(): void {
    this.#planned = false;
    if (this.#pending.length === 0) return;
    const pending = this.#pending.sort((a, b) => a.fields.deliveryTag - b.fields.deliveryTag);
    this.#pending = [];
    const below = pending.filter(({ fields }) => fields.deliveryTag <= this.#watermark);
    const highest = below.at(-1);
    try {
      if (highest) this.#channel.ack(highest, true);
      for (const message of pending.slice(below.length)) this.#channel.ack(message);
    } catch {
      // The channel has closed: the broker takes all of it back.
    }
  }

  #mark(tag: number): void {
    // The common way: what came first is settled first.
    if (tag === this.#watermark + 1) this.#watermark = tag;
    else this.#done.add(tag);
    while (this.#done.size > 0 && this.#done.delete(this.#watermark + 1)) this.#watermark += 1;
  }
}
