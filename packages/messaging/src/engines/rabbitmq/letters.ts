/** A dead letter on the wire: a JSON envelope with everything `DeadLetterRecord` shows and the message as it came, to be redriven unchanged. */
import type { ConsumeMessage } from 'amqplib';
import type { DeadLetterRecord, Letter } from '../../engine.ts';
import { type PackedParcel, packParcel, type Parcel, type Received, rawOf } from './wire.ts';

export interface StoredLetter extends DeadLetterRecord {
  /** Part of a parked sequence: its key is held until the letter is redriven or discarded. */
  readonly inLane: boolean;
  readonly stateOnRedrive: string | undefined;
  readonly turn: number;
  readonly parcel: PackedParcel;
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

export function decodeLetter({ content }: ConsumeMessage): StoredLetter {
  return JSON.parse(content.toString()) as StoredLetter;
}

export function recordOf(stored: StoredLetter): DeadLetterRecord {
  const { id, channel, subscription, messageId, key, reason, group, parkedAt, history, raw } = stored;
  return { id, channel, subscription, messageId, key, reason, group, parkedAt, history, raw };
}
