/** The race of a redrive: copies may be read before the ends of the letters they take the place of. */
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../clock.ts';
import { DeadBook } from './dead-book.ts';
import { encodeLetter, tombstoneOf } from './letters.ts';
import { looseRecord, type LogRecord } from './log-record.ts';
import type { Logs } from './logs.ts';
import { encodeMessage, type Parcel, Received } from './wire.ts';

const message = {
  id: 'm1',
  type: 'orders',
  version: 1,
  source: '/shop',
  time: '',
  data: 1,
  key: 'k',
  headers: {},
};

function recordAt(offset: number, { key, value, headers }: Parcel): LogRecord {
  const named = headers.map(([name, text]) => [Buffer.from(name), text] as const);
  const record = looseRecord({ key: key ?? null, value: value ?? null, headers: named });
  return Object.assign(record, { offset, timestamp: 0 });
}

function letterAt(offset: number, id: string): LogRecord {
  const { key, value, headers } = encodeMessage(message);
  const received = new Received(recordAt(0, { key, value, headers }), { channel: 'orders', text: '' });
  const text = { id, reason: 'no stock', group: 'no stock', at: 1, history: [], stateOnRedrive: undefined };
  const place = { channel: 'orders', subscription: 'mail', partition: 0, rank: 7, priority: 0, inLane: true };
  return recordAt(offset, encodeLetter(received, text, place));
}

function bookWith(...records: readonly LogRecord[]): DeadBook {
  const book = new DeadBook('orders-D', {} as Logs, systemClock);
  book.apply(0, records, records.length);
  return book;
}

describe('the letters of a redrive', () => {
  it('hold their key until a copy or their end is read', () => {
    const book = bookWith(letterAt(0, 'first'));
    expect(book.heldFrom(0, 'k')).toBe(7);
    book.release('first');
    expect(book.heldFrom(0, 'k')).toBeUndefined();
  });

  it('hold nothing when they are read after their copy, as a new owner may read them', () => {
    const book = bookWith();
    book.release('first');
    book.apply(0, [letterAt(0, 'first')], 1);
    expect(book.heldFrom(0, 'k')).toBeUndefined();
  });

  it('end without taking along the copy that was parked anew meanwhile', () => {
    const book = bookWith(letterAt(0, 'first'));
    book.release('first');
    book.apply(0, [letterAt(1, 'second'), recordAt(2, tombstoneOf('first'))], 3);
    expect(book.letters().map(({ id }) => id)).toEqual(['second']);
    expect(book.heldFrom(0, 'k')).toBe(7);
  });

  it('would take it along under the same id: so each parking has its own', () => {
    const book = bookWith(letterAt(0, 'first'), letterAt(1, 'first'), recordAt(2, tombstoneOf('first')));
    expect(book.letters()).toEqual([]);
  });
});
