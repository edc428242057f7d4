/** Publishing: looks at each message before it joins a turn, because a turn is shared, and confirms with what a commit of the writer means. */
import { encodeCloudEvent, encodeReceived } from '../../cloud-event.ts';
import type { Durability } from '../../channel.ts';
import type { OutgoingMessage, PublishConfirmation } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import type { Message } from '../../message.ts';
import { isAbove, refuseAbove } from '../../message-size.ts';
import { faultOfMessage, faultOfOutgoing } from '../../sound-outgoing.ts';
import { wholeMs } from './positions.ts';
import type { Ask, PublishRow } from './turn.ts';

type Encode = (message: Message) => string;

export interface PublisherParts {
  readonly ask: Ask;
  /** When the last turn was answered, ms since the epoch. */
  readonly endedAt: () => number;
  /** What a commit means now: a shared file may have got another host. */
  readonly durability: () => Durability;
  readonly maxMessageBytes: number;
}

export class Publisher {
  readonly #parts: PublisherParts;

  constructor(parts: PublisherParts) {
    this.#parts = parts;
  }

  async publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishConfirmation[]> {
    if (batch.length === 0) return [];
    await this.#parts.ask({ op: 'publish', rows: batch.map((one) => this.#encode(one)) });
    const confirmedAt = this.#parts.endedAt();
    const durability = this.#parts.durability();
    return batch.map(({ message }) => ({ id: message.id, durability, confirmedAt }));
  }

  /** What takes the place of a dead letter, as it is stored; it keeps headers that its letter came with. Throws as `publish` rejects. */
  replacementOf(message: Message): Pick<PublishRow, 'body' | 'expiresAt'> {
    const body = this.#bodyOf(sound(message, faultOfMessage), encodeReceived);
    return { body, expiresAt: expiryOf(message) };
  }

  #encode(outgoing: OutgoingMessage): PublishRow {
    const { channel, message, dueAt, priority = 0 } = sound(outgoing, faultOfOutgoing);
    return {
      channel,
      level: priority,
      key: message.key ?? null,
      expiresAt: expiryOf(message),
      dueAt: dueAt === undefined ? null : wholeMs(dueAt),
      body: this.#bodyOf(message, encodeCloudEvent),
    };
  }

  #bodyOf(message: Message, encode: Encode): string {
    const body = textOf(message, encode);
    const { maxMessageBytes } = this.#parts;
    if (isAbove(maxMessageBytes, body)) refuseAbove(maxMessageBytes, Buffer.byteLength(body), message.id);
    return body;
  }
}

/** The value, if nothing is wrong with it. Throws DB_MSG_INVALID_OPTIONS. */
function sound<T>(value: T, faultOf: (value: T) => string | undefined): T {
  const fault = faultOf(value);
  if (fault === undefined) return value;
  throw new MessagingError('DB_MSG_INVALID_OPTIONS', fault);
}

/** Throws DB_MSG_INVALID_DATA for what JSON has no words for: a cycle, a BigInt. */
function textOf(message: Message, encode: Encode): string {
  try {
    return encode(message);
  } catch (cause) {
    if (cause instanceof MessagingError) throw cause;
    throw new MessagingError('DB_MSG_INVALID_DATA', `message ${message.id} cannot be written as JSON`, {
      cause,
    });
  }
}

function expiryOf({ expiresAt }: Message): number | null {
  return expiresAt === undefined ? null : Date.parse(expiresAt);
}
