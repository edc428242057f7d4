/** A dead letter on the wire: a JSON envelope with everything `DeadLetterRecord` shows and the message as it came, to be redriven unchanged. */
import type { ConsumeMessage } from 'amqplib';
import type { DeadLetterRecord, Letter } from '../../engine.ts';
import { type PackedParcel, packParcel, type Parcel, type Received, rawOf } from './wire.ts';

/** A header table has to fit into one frame; the whole reason stands in the letter. */
const REASON_CHARACTERS = 500;

export interface StoredLetter extends DeadLetterRecord {
  /** Part of a parked sequence: its key is held until the letter is redriven or discarded. */
  readonly inLane: boolean;
  readonly stateOnRedrive: string | undefined;
  readonly turn: number;
  readonly parcel: PackedParcel;
  /** The redrive that it is the placeholder of, see `placeholders.ts`. */
  readonly returning?: string;
}

export interface LetterPlace {
  readonly channel: string;
  readonly subscription: string;
  readonly key: string | undefined;
  readonly inLane: boolean;
}

export type LetterText = Pick<Letter, 'id' | 'reason' | 'group' | 'at' | 'history'> & {
  readonly stateOnRedrive: string | undefined;
};

export function encodeLetter(received: Received, letter: LetterText, place: LetterPlace): Parcel {
  const stored: StoredLetter = {
    id: letter.id,
    channel: place.channel,
    subscription: place.subscription,
    messageId: received.message?.id ?? '',
    key: received.message?.key,
    reason: letter.reason,
    group: letter.group,
    parkedAt: letter.at,
    history: letter.history,
    raw: rawOf(received),
    inLane: place.inLane,
    stateOnRedrive: letter.stateOnRedrive,
    turn: received.note.turn ?? 0,
    parcel: packParcel(received.parcel),
  };
  return {
    content: Buffer.from(JSON.stringify(stored)),
    options: { persistent: true, messageId: letter.id, contentType: 'application/json' },
  };
}

export interface DeathPlace {
  readonly channel: string;
  readonly subscription: string;
  /** The queue it was read from. */
  readonly queue: string;
  /** As it was delivered: with the exchange and the routing key that led it there. */
  readonly amqp: ConsumeMessage;
}

/**
 * The message for those who watch a dead-letter exchange with tools of their own: as it came, with the headers that the broker itself would have added.
 * `rejected`, because that is the only reason for which the broker never takes a message for one that goes round in a loop.
 */
export function obituaryOf(
  received: Received,
  letter: Pick<LetterText, 'id' | 'reason' | 'at'>,
  { channel, subscription, queue, amqp }: DeathPlace,
): Parcel {
  const { content, options } = received.parcel;
  const { exchange, routingKey } = amqp.fields;
  const death = {
    reason: 'rejected',
    queue,
    exchange,
    'routing-keys': [routingKey],
    count: 1,
    time: { '!': 'timestamp', value: Math.floor(letter.at / 1000) },
  };
  return {
    content,
    options: {
      ...options,
      headers: {
        ...options.headers,
        'x-death': [death],
        'x-first-death-reason': death.reason,
        'x-first-death-queue': queue,
        'x-first-death-exchange': exchange,
        'x-db-channel': channel,
        'x-db-subscription': subscription,
        'x-db-letter': letter.id,
        'x-db-reason': letter.reason.slice(0, REASON_CHARACTERS),
      },
    },
  };
}

export function decodeLetter({ content }: ConsumeMessage): StoredLetter {
  return JSON.parse(content.toString()) as StoredLetter;
}

export function recordOf(stored: StoredLetter): DeadLetterRecord {
  const { id, channel, subscription, messageId, key, reason, group, parkedAt, history, raw } = stored;
  return { id, channel, subscription, messageId, key, reason, group, parkedAt, history, raw };
}
