/** The race of a redrive: copies may be read before the ends of the letters they take the place of. */
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../clock.ts';
import { DeadBook } from './dead-book.ts';
import { encodeLetter, tombstoneOf } from './letters.ts';
import { looseRecord, type LogRecord } from './log-record.ts';
import { KafkaDeadLetters } from './dead-letters.ts';
import type { StoredLetter } from './letters.ts';
import type { Logs } from './logs.ts';
import type { Publisher } from './publisher.ts';
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
  const book = new DeadBook('orders-D', {} as Logs, systemClock, {
    channel: 'orders',
    subscription: 'mail',
  });
  book.apply(0, records, records.length);
  return book;
}

function followerAt(offset: number): StoredLetter {
  const place = { partition: 0, rank: offset, offset, inLane: true };
  return { id: `letter ${offset}`, key: 'k', parkedAt: 1, ...place } as StoredLetter;
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

describe('what others put among the letters', () => {
  const foreign = (offset: number, label?: string): LogRecord =>
    recordAt(offset, {
      key: Buffer.from(`theirs ${offset}`),
      value: Buffer.from('hello'),
      headers: label === undefined ? [] : [['db-letter', Buffer.from(label)]],
    });

  it.each([undefined, '', 'hello', 'null', '5', '[]', '{}', '{"id":"x","history":5}'])(
    'is shown, holds no key and keeps nobody from the letters behind it: %s',
    (label) => {
      const book = bookWith(foreign(0, label), letterAt(1, 'first'));
      expect(book.heldFrom(0, 'k')).toBe(7);
      const [letter] = book.letters().filter(({ id }) => id === 'theirs 0');
      expect(letter).toMatchObject({ channel: 'orders', subscription: 'mail', partition: 0, inLane: false });
      expect(letter).toMatchObject({ raw: 'hello', group: 'unreadable', parkedAt: 0 });
      expect(book.groups()).toContainEqual({ group: 'unreadable', count: 1 });
    },
  );

  it('ends as a letter does', () => {
    const book = bookWith(foreign(0), recordAt(1, tombstoneOf('theirs 0')));
    expect(book.letters()).toEqual([]);
  });
});

describe('the lowest rank that holds a key', () => {
  const bookHolding = (...ranks: readonly number[]): DeadBook => {
    const book = bookWith();
    for (const [offset, rank] of ranks.entries()) book.foresee({ ...followerAt(offset), rank });
    return book;
  };

  it('is that of the oldest letter, whichever leaves first', () => {
    const book = bookHolding(7, 5, 9);
    expect(book.heldFrom(0, 'k')).toBe(5);
    book.forget(['letter 1']);
    expect(book.heldFrom(0, 'k')).toBe(7);
    book.forget(['letter 2']);
    expect(book.heldFrom(0, 'k')).toBe(7);
    book.forget(['letter 0']);
    expect(book.heldFrom(0, 'k')).toBeUndefined();
  });

  it('is that of a letter as it was read last, and of one that came after another had left', () => {
    const book = bookHolding(5, 7);
    book.foresee({ ...followerAt(0), rank: 6 });
    expect(book.heldFrom(0, 'k')).toBe(6);
    book.forget(['letter 0']);
    book.foresee({ ...followerAt(2), rank: 9 });
    expect(book.heldFrom(0, 'k')).toBe(7);
  });
});

describe('more letters than a call can have arguments', { timeout: 120_000 }, () => {
  const count = 600_000;

  it('hold one key', () => {
    const book = bookWith();
    for (let offset = 0; offset < count; offset += 1) book.foresee(followerAt(offset));
    expect(book.heldFrom(0, 'k')).toBe(0);
    book.forget(['letter 0']);
    expect(book.heldFrom(0, 'k')).toBe(1);
  });

  it('are listed', async () => {
    const many = Array.from({ length: count }, () => followerAt(0)).concat(followerAt(1), followerAt(2));
    const book = { refresh: async () => {}, letters: () => many } as unknown as DeadBook;
    const letters = new KafkaDeadLetters({
      publisher: {} as Publisher,
      places: async () => [{ channel: 'orders', subscription: 'mail', book, later: undefined }],
      onEnded: () => {},
    });
    const listed = await letters.list({}, { limit: 1, after: 'letter 1' });
    expect(listed.map(({ id }) => id)).toEqual(['letter 2']);
  });

  it('are too many for a call, which is why', () => {
    const many = Array.from({ length: count }, (_, at) => at);
    expect(() => Math.min(...many)).toThrow(RangeError);
    expect(() => [].push(...(many as never[]))).toThrow(RangeError);
  });
});
