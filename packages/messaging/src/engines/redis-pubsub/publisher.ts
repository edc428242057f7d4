/** Publishing: a PUBLISH for each message, in one write. That the server answered says nothing of who heard it. */
import { encodeCloudEvent } from '../../cloud-event.ts';
import type { OutgoingMessage } from '../../engine.ts';
import { refuseAbove } from '../../message-size.ts';
import type { Sender } from '../../redis/sender.ts';
import { unsupported } from './capabilities.ts';
import { pubsubNameOf, type Settings } from './options.ts';

export class BroadcastPublisher {
  readonly #speaker: Sender;
  readonly #settings: Settings;

  constructor(speaker: Sender, settings: Settings) {
    this.#speaker = speaker;
    this.#settings = settings;
  }

  async publish(batch: readonly OutgoingMessage[]): Promise<void> {
    const encoded = batch.map((one) => this.#encode(one));
    await Promise.all(encoded.map(({ name, body }) => this.#speaker.send(['PUBLISH', name, body])));
  }

  #encode({ channel, message, dueAt, priority }: OutgoingMessage): { name: string; body: string } {
    if (dueAt !== undefined) throw unsupported('a due time');
    if (priority !== undefined) throw unsupported('a priority');
    const body = encodeCloudEvent(message);
    refuseAbove(this.#settings.maxMessageBytes, Buffer.byteLength(body), message.id);
    return { name: pubsubNameOf(this.#settings, channel), body };
  }
}
