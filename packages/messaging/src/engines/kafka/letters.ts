/** A dead letter on the wire: the record as it came, to be redriven unchanged, with one more header that holds everything `DeadLetterRecord` shows. */
import type { DeadLetterRecord, Letter } from '../../engine.ts';
import { type LogRecord, looseRecord } from './log-record.ts';
import { copyOf, headerOf, type Parcel, rawOf, Received } from './wire.ts';

export interface LetterPlace {
  readonly channel: string;
  readonly subscription: string;
  /** Of the channel's topic; the letter lies in the same one. */
  readonly partition: number;
  readonly rank: number;
  readonly priority: number;
  /** Its key is held until the letter is redriven or discarded. */
  readonly inLane: boolean;
}

export type LetterText = Pick<Letter, 'id' | 'reason' | 'group' | 'at' | 'history'> & {
  readonly stateOnRedrive: string | undefined;
};

interface Label extends LetterText, LetterPlace {
  readonly messageId: string;
  readonly key: string | undefined;
  /** The record's key, base64: the letter's own key is its id. */
  readonly recordKey: string | undefined;
  /** A record without a value would be the end of the letter. */
  readonly hasValue: boolean;
}

export interface StoredLetter extends DeadLetterRecord, LetterPlace {
  readonly offset: number;
  readonly stateOnRedrive: string | undefined;
  readonly parcel: Parcel;
}

const LABEL = 'db-letter';

export function encodeLetter(
  { parcel, message }: Pick<Received, 'parcel' | 'message'>,
  letter: LetterText,
  place: LetterPlace,
): Parcel {
  const label: Label = {
    ...place,
    id: letter.id,
    reason: letter.reason,
    group: letter.group,
    at: letter.at,
    history: letter.history,
    stateOnRedrive: letter.stateOnRedrive,
    messageId: message?.id ?? '',
    key: message?.key,
    recordKey: parcel.key?.toString('base64'),
    hasValue: parcel.value !== undefined,
  };
  return {
    key: Buffer.from(letter.id),
    value: parcel.value ?? Buffer.alloc(0),
    headers: [...parcel.headers, [LABEL, Buffer.from(JSON.stringify(label))]],
  };
}

/** The group of what others put among the dead letters. */
const UNREADABLE = 'unreadable';

/**
 * What is no letter of ours is shown as one that holds no key: a person may discard it, or redrive it to the subscription, where it is read as what any stranger
 * publishes. Its record is in the log of the letters of `channel` and `subscription`, in this partition.
 */
export function decodeLetter(
  record: LogRecord,
  place: Pick<LetterPlace, 'channel' | 'subscription' | 'partition'>,
): StoredLetter {
  const label = labelOn(record);
  if (!label) return strangerIn(record, place);
  const received = new Received(
    looseRecord({
      key: label.recordKey === undefined ? null : Buffer.from(label.recordKey, 'base64'),
      value: label.hasValue ? record.value : null,
      headers: record.headers,
    }),
    { channel: label.channel, text: label.messageId },
  );
  return {
    ...label,
    parkedAt: label.at,
    raw: rawOf(received),
    offset: record.offset,
    parcel: received.parcel,
  };
}

function labelOn(record: LogRecord): Label | undefined {
  try {
    const found: unknown = JSON.parse(headerOf(record, LABEL) ?? '');
    return isLabel(found) ? found : undefined;
  } catch {
    return undefined;
  }
}

function isLabel(found: unknown): found is Label {
  const {
    key,
    stateOnRedrive,
    recordKey,
    history,
    at,
    partition,
    rank,
    priority,
    inLane,
    hasValue,
    ...texts
  } = (typeof found === 'object' ? (found ?? {}) : {}) as Readonly<Record<string, unknown>>;
  const { id, channel, subscription, messageId, reason, group } = texts;
  return (
    [id, channel, subscription, messageId, reason, group].every((one) => typeof one === 'string') &&
    [key, stateOnRedrive, recordKey].every((one) => one === undefined || typeof one === 'string') &&
    [at, partition, rank, priority].every(Number.isFinite) &&
    [inLane, hasValue].every((one) => typeof one === 'boolean') &&
    Array.isArray(history)
  );
}

function strangerIn(
  record: LogRecord,
  { channel, subscription, partition }: Pick<LetterPlace, 'channel' | 'subscription' | 'partition'>,
): StoredLetter {
  const id = record.keyText() ?? '';
  const received = new Received(record, { channel, text: id });
  return {
    id,
    channel,
    subscription,
    partition,
    messageId: received.message?.id ?? '',
    key: received.message?.key,
    reason: 'it is no dead letter of this toolkit: something else put it among them',
    group: UNREADABLE,
    parkedAt: record.timestamp,
    history: [],
    raw: rawOf(received),
    rank: record.offset,
    priority: 0,
    inLane: false,
    offset: record.offset,
    stateOnRedrive: received.note.state,
    parcel: received.parcel,
  };
}

export function recordOf(stored: StoredLetter): DeadLetterRecord {
  const { id, channel, subscription, messageId, key, reason, group, parkedAt, history, raw } = stored;
  return { id, channel, subscription, messageId, key, reason, group, parkedAt, history, raw };
}

/** The letter's message, on its way back to its subscription and its place. */
export function revived({ id, parcel, stateOnRedrive, rank, priority }: StoredLetter): Parcel {
  return copyOf(parcel, { state: stateOnRedrive, rank, priority, redriven: id });
}

export function tombstoneOf(letterId: string): Parcel {
  return { key: Buffer.from(letterId), value: undefined, headers: [] };
}
