/** Publishing: the messages of one channel that follow each other are one LPUSH, and each LPUSH waits for the one before, so the order of the batch is that of the lists. */
import { encodeCloudEvent } from '../../cloud-event.ts';
import type { OutgoingMessage } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import { refuseAbove } from '../../message-size.ts';
import { unsupported } from './capabilities.ts';
import type { ListsScripts } from './scripts.ts';

export interface PublisherParts {
  readonly scripts: ListsScripts;
  readonly maxMessageBytes: number;
  /** Declared on this connection. */
  readonly knows: (channel: string) => boolean;
  readonly declareAgain: () => Promise<void>;
}

export class ListsPublisher {
  readonly #parts: PublisherParts;

  constructor(parts: PublisherParts) {
    this.#parts = parts;
  }

  /** Resolves when the server has answered for all. Rejects with DB_MSG_UNKNOWN_CHANNEL when there is no such channel. */
  async publish(batch: readonly OutgoingMessage[]): Promise<void> {
    const encoded = batch.map((one) => this.#encode(one));
    for (let from = 0; from < encoded.length; ) {
      const { channel } = batch[from] as OutgoingMessage;
      let end = from;
      while (end < encoded.length && batch[end]?.channel === channel) end += 1;
      await this.#push(channel, encoded.slice(from, end));
      from = end;
    }
  }

  async #push(channel: string, texts: readonly string[]): Promise<void> {
    const { scripts, knows, declareAgain } = this.#parts;
    if ((await scripts.run('listsPublish', [channel, ...texts])) === 1) return;
    const known = knows(channel);
    if (known) await declareAgain();
    if (!known || (await scripts.run('listsPublish', [channel, ...texts])) !== 1)
      throw new MessagingError(
        'DB_MSG_UNKNOWN_CHANNEL',
        `channel "${channel}" does not exist on this server`,
      );
  }

  #encode({ message, dueAt, priority }: OutgoingMessage): string {
    if (dueAt !== undefined) throw unsupported('a due time');
    if (priority !== undefined) throw unsupported('a priority');
    const text = encodeCloudEvent(message);
    refuseAbove(this.#parts.maxMessageBytes, Buffer.byteLength(text), message.id);
    return text;
  }
}
