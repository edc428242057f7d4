/** For tests: the consuming side of a connection, on which each step of the broker comes when the test says so. It keeps no queues: a test delivers what it wants to. */
import { EventEmitter } from 'node:events';
import type { ChannelModel, ConsumeMessage } from 'amqplib';

type Take = (message: ConsumeMessage | null) => void;

export class FakeChannel extends EventEmitter {
  take: Take | undefined;
  ended = false;
  readonly acked: number[] = [];
  readonly #opened: Promise<void>;
  #nextTag = 1;

  constructor(opened: Promise<void>) {
    super();
    this.#opened = opened;
  }

  async prefetch(): Promise<void> {}

  async consume(_queue: string, take: Take): Promise<{ consumerTag: string }> {
    await this.#opened;
    // The one beside it by which a source sees that its acknowledgements were applied gets nothing.
    this.take ??= take;
    return { consumerTag: 'tag' };
  }

  async cancel(): Promise<void> {}

  ack({ fields }: ConsumeMessage): void {
    this.acked.push(fields.deliveryTag);
  }

  nack(): void {}

  async close(): Promise<void> {
    this.lose();
  }

  /** As the broker ends it. */
  lose(): void {
    if (this.ended) return;
    this.ended = true;
    this.emit('close');
  }

  deliver(content: string, headers: Record<string, unknown> = {}): void {
    const fields = { deliveryTag: this.#nextTag++, exchange: '', routingKey: '' };
    this.take?.({ content: Buffer.from(content), fields, properties: { headers } } as ConsumeMessage);
  }
}

export interface FakeModel {
  readonly model: ChannelModel;
  /** In the order of their opening. */
  readonly channels: FakeChannel[];
}

/** `opened`: until then no question to consume is answered. */
export function createFakeModel(opened: Promise<void> = Promise.resolve()): FakeModel {
  const channels: FakeChannel[] = [];
  const createChannel = async (): Promise<FakeChannel> => {
    const channel = new FakeChannel(opened);
    channels.push(channel);
    return channel;
  };
  return { model: { createChannel } as unknown as ChannelModel, channels };
}

/** What is under way without a timer is done. */
export const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
