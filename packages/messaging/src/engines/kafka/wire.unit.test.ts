import { describe, expect, it } from 'vitest';
import type { Message } from '../../message.ts';
import { namesOf, partitionOf } from './names.ts';
import { looseRecord, type RecordLike } from './log-record.ts';
import { copyOf, encodeDescendant, encodeMessage, type Parcel, rawOf, Received } from './wire.ts';

const message: Message = {
  id: 'm1',
  type: 'orders',
  version: 3,
  source: '/shop',
  time: '2026-01-01T00:00:00.000Z',
  data: { n: 1 },
  key: 'k',
  routingKey: 'eu.berlin',
  correlationId: 'c',
  causationId: 'b',
  expiresAt: '2026-01-02T00:00:00.000Z',
  traceparent: '00-1-2-01',
  headers: { tenant: 'ä' },
};
const place = { channel: 'orders', text: 'orders/0/7' };
const asRecord = ({ key, value, headers }: Parcel): RecordLike =>
  looseRecord({
    key: key ?? null,
    value: value ?? null,
    headers: headers.map(([name, text]) => [Buffer.from(name), text] as const),
  });
const there = (given: Message): Message | undefined =>
  new Received(asRecord(encodeMessage(given)), place).message;

describe('a message as a record', () => {
  it('comes back as it was', () => {
    expect(there(message)).toEqual(message);
    expect(there({ ...message, data: null })).toEqual({ ...message, data: null });
  });

  it.each([
    ['JSON', { n: 1 }, {}],
    ['bytes', Buffer.from('stored'), { contentType: 'application/octet-stream' }],
  ])('is read anew when it was given to somebody who changed it: %s', (_, data, media) => {
    const sent: Message = { ...message, data, ...media, headers: { tenant: 'acme' } };
    const came = new Received(asRecord(encodeMessage(sent)), place);
    const raw = rawOf(came);
    const given = came.give().message;
    expect(given).toEqual(sent);
    Object.assign(given ?? {}, { id: 'other', key: 'other' });
    Object.assign(given?.headers ?? {}, { tenant: 'other', mine: 'yes' });
    if (given?.data instanceof Uint8Array) given.data.fill(0);
    else Object.assign(given?.data ?? {}, { n: 99 });
    expect(came.message).toEqual(sent);
    expect(rawOf(came)).toBe(raw);
    expect(came.parcel.value).toEqual(encodeMessage(sent).value);
  });

  it('keeps headers that are called like something every object inherits', () => {
    const headers = { constructor: 'acme', valueof: 'x' };
    expect(there({ ...message, headers })).toEqual({ ...message, headers });
  });

  it('shows what a stranger named as we would not, whole, and carries it on; we refuse to name anything so', () => {
    const headers = { regionoftheoldwarehouse: 'eu-west', tenant_id: 'acme' };
    const foreign = { ...message, headers };
    expect(() => encodeMessage(foreign)).toThrow(/cannot be a header/);
    const came = new Received(asRecord(encodeDescendant(foreign)), place);
    expect(came.message).toEqual(foreign);
    expect(JSON.parse(rawOf(came))).toMatchObject({ id: 'm1', data: { n: 1 }, ...headers });
  });

  it('takes no header for the data of a JSON text', () => {
    const { headers, ...parcel } = encodeMessage(message);
    const odd = { ...parcel, headers: [...headers, ['ce_data_base64', Buffer.from('eA==')] as const] };
    expect(JSON.parse(rawOf(new Received(asRecord(odd), place)))).not.toHaveProperty('data_base64');
  });

  it('carries bytes with their media type', () => {
    const data = Buffer.from([0, 255]);
    expect(there({ ...message, data, contentType: 'application/avro' })).toMatchObject({
      data,
      contentType: 'application/avro',
    });
  });

  it('keeps what travels beside it apart', () => {
    const note = { state: '{"a":1}', abandoned: 2, dueAt: 5, rank: 9, priority: 1, redriven: 'letter-1' };
    const received = new Received(asRecord(copyOf(encodeMessage(message), note)), place);
    expect(received.message).toEqual(message);
    expect(received.note).toEqual(note);
    expect(received.parcel.headers.some(([name]) => name.startsWith('db-'))).toBe(false);
  });

  it('refuses a header that CloudEvents does not allow', () => {
    for (const name of ['Tenant', 'id', 'traceparent', ''])
      expect(() => encodeMessage({ ...message, headers: { [name]: 'x' } })).toThrow(/cannot be a header/);
  });

  it('may have no value: then it ends a key', () => {
    expect(encodeMessage({ ...message, data: null }, true).value).toBeUndefined();
    const foreign = new Received(looseRecord({ key: Buffer.from('gone'), value: null, headers: [] }), place);
    expect(foreign).toMatchObject({
      tombstone: true,
      message: { id: 'orders/0/7', key: 'gone', data: null },
    });
  });

  it('says what is wrong with one that is no CloudEvent', () => {
    const malformed = (value: string, headers: RecordLike['headers'] = []): string | undefined =>
      new Received(looseRecord({ key: null, value: Buffer.from(value), headers }), place).malformed;
    expect(malformed('{"half": ')).toMatch(/not JSON/);
    expect(malformed('{}', [[Buffer.from('ce_id'), Buffer.from('x')]])).toMatch(/ce_type is missing/);
  });
});

describe('names', () => {
  const names = namesOf('shop.');

  it('never meet another channel’s', () => {
    expect(names.topic('a-b.c_d')).toBe('shop.a-b.c_d');
    expect(names.later('orders', 'Mail & Co')).toBe('shop.orders-S-_4D_ail_20__26__20__43_o-L');
    expect(names.later('orders', 'x')).toMatch(/^[a-zA-Z0-9._-]+$/);
  });

  it('tell the subscriptions of a channel', () => {
    const topics = [
      names.later('orders', 'Mail & Co'),
      names.dead('orders', 'x'),
      names.later('orders.eu', 'y'),
    ];
    expect(names.subscriptionsIn(topics, 'orders')).toEqual(['Mail & Co']);
    expect(names.ephemeralIn(names.ephemeral('replies.1'))).toBe('replies.1');
    expect(names.ephemeralIn(names.topic('orders'))).toBeUndefined();
  });
});

it('a key goes where Java’s default partitioner sends it', () => {
  // From org.apache.kafka.common.utils.UtilsTest, made positive as the partitioner does.
  const hashes = {
    '21': -973_932_308,
    foobar: -790_332_482,
    'a-little-bit-long-string': -985_981_536,
    abc: 479_470_107,
  };
  for (const [key, hash] of Object.entries(hashes))
    expect(partitionOf(key, 1_000), key).toBe((hash & 0x7fffffff) % 1_000);
});
