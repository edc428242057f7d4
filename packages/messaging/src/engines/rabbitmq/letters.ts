/** A dead letter on the wire: a JSON envelope with everything `DeadLetterRecord` shows and the message as it came, to be redriven unchanged. */
import { createHash } from 'node:crypto';
import type { ConsumeMessage } from 'amqplib';
import type { DeadLetterRecord, Letter } from '../../engine.ts';
import { areTexts, fieldsOf, readJson } from './read-json.ts';
import { decodeMessage, type PackedParcel, packParcel, type Parcel, type Received, rawOf } from './wire.ts';

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

/** Undefined for what is no letter of ours. */
export function decodeLetter({ content }: ConsumeMessage): StoredLetter | undefined {
  const found = readJson(content);
  return isLetter(found) ? found : undefined;
}

function isLetter(found: unknown): found is StoredLetter {
  const fields = fieldsOf(found);
  const { key, history, parkedAt, inLane, stateOnRedrive, turn, parcel, returning } = fields;
  const { body, options } = fieldsOf(parcel);
  return (
    areTexts(fields, 'id', 'channel', 'subscription', 'messageId', 'reason', 'group', 'raw') &&
    [key, stateOnRedrive, returning].every((one) => one === undefined || typeof one === 'string') &&
    [parkedAt, turn].every(Number.isFinite) &&
    Array.isArray(history) &&
    typeof inLane === 'boolean' &&
    typeof body === 'string' &&
    typeof options === 'object' &&
    options !== null
  );
}

/** The group of what others put among the dead letters. */
const UNREADABLE = 'unreadable';

/**
 * Reads the letters of one place, each with an id of its own. What is none of ours is shown as one that holds no key: a person may discard it, or redrive it to the
 * subscription, where it is read as what any stranger publishes.
 */
export function letterReader({
  channel,
  subscription,
}: Pick<LetterPlace, 'channel' | 'subscription'>): (amqp: ConsumeMessage) => StoredLetter {
  const seen = new Map<string, number>();
  return (amqp) => {
    const letter = decodeLetter(amqp);
    if (letter) return letter;
    const digest = createHash('sha256').update(amqp.content).digest('hex').slice(0, 16);
    const before = seen.get(digest) ?? 0;
    seen.set(digest, before + 1);
    const received = decodeMessage(amqp);
    const { message, note, parcel } = received;
    const seconds: unknown = amqp.properties.timestamp;
    return {
      // The same at the next look, by which a list goes on.
      id: `${UNREADABLE}-${digest}${before === 0 ? '' : `-${before}`}`,
      channel,
      subscription,
      messageId: message?.id ?? '',
      key: message?.key,
      reason: 'it is no dead letter of this toolkit: something else put it among them',
      group: UNREADABLE,
      parkedAt: typeof seconds === 'number' ? seconds * 1000 : 0,
      history: [],
      raw: rawOf(received),
      inLane: false,
      stateOnRedrive: note.state,
      turn: note.turn ?? 0,
      parcel: packParcel(parcel),
    };
  };
}

export function recordOf(stored: StoredLetter): DeadLetterRecord {
  const { id, channel, subscription, messageId, key, reason, group, parkedAt, history, raw } = stored;
  return { id, channel, subscription, messageId, key, reason, group, parkedAt, history, raw };
}
