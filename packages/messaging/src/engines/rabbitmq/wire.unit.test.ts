import type { ConsumeMessage } from 'amqplib';
import { describe, expect, it } from 'vitest';
import type { Message } from '../../message.ts';
import { dueAtOf } from './long-waits.ts';
import { namesOf } from './names.ts';
import { deliveryCountOf } from './notes.ts';
import {
  copyOf,
  decodeMessage,
  encodeDescendant,
  encodeMessage,
  type Parcel,
  rawOf,
  type Received,
  unpackParcel,
} from './wire.ts';

const message: Message = {
  id: 'm1',
  type: 'orders',
  version: 3,
  source: '/shop',
  time: '2026-01-01T00:00:00.000Z',
  data: { n: 1 },
  key: 'k',
  headers: {},
};

const arrived = ({ content, options }: Parcel): Received =>
  decodeMessage({ content, fields: {}, properties: options } as unknown as ConsumeMessage);
const there = (given: Message): Message | undefined => arrived(encodeMessage(given)).message;

describe('a message on AMQP', () => {
  it.each([
    ['JSON', { n: 1 }, {}],
    ['bytes', Buffer.from('stored'), { contentType: 'application/octet-stream' }],
  ])('is read anew when it was given to somebody who changed it: %s', (_, data, media) => {
    const sent: Message = { ...message, data, ...media, headers: { tenant: 'acme' } };
    const came = arrived(encodeMessage(sent));
    const raw = rawOf(came);
    const given = came.give();
    expect(given).toEqual(sent);
    Object.assign(given ?? {}, { id: 'other', key: 'other' });
    Object.assign(given?.headers ?? {}, { tenant: 'other', mine: 'yes' });
    if (given?.data instanceof Uint8Array) given.data.fill(0);
    else Object.assign(given?.data ?? {}, { n: 99 });
    expect(came.message).toEqual(sent);
    expect(rawOf(came)).toBe(raw);
    expect(came.parcel.content).toEqual(encodeMessage(sent).content);
  });

  it('makes what comes out of a dead letter or an envelope fit to be sent, whatever its headers are', () => {
    const body = Buffer.from('x').toString('base64');
    const unpacked = (headers: unknown) =>
      unpackParcel({ body, options: { headers } as never }).options.headers;
    expect(unpacked({ mine: 'yes', theirs: { '!': 'weather' }, low: -1e300 })).toEqual({
      mine: 'yes',
      theirs: '{"!":"weather"}',
      low: '-1e+300',
    });
    for (const none of ['text', null, undefined]) expect(unpacked(none)).toBe(none);
  });

  it('keeps headers that are called like something every object inherits', () => {
    const headers = { constructor: 'acme', valueof: 'x' };
    expect(there({ ...message, headers })).toEqual({ ...message, headers });
  });

  it.each([
    ['as AMQP headers', { regionoftheoldwarehouse: 'eu-west', tenant_id: 'acme' }],
    ['longer than AMQP has room for', { ['x'.repeat(244)]: 'eu-west' }],
  ])('shows what a stranger named as we would not, whole, and carries it on: %s', (_, headers) => {
    const foreign = { ...message, headers: headers as Record<string, string> };
    expect(() => encodeMessage(foreign)).toThrow(/cannot be a header/);
    const came = arrived(encodeDescendant(foreign));
    expect(came.message).toEqual(foreign);
    expect(JSON.parse(rawOf(came))).toMatchObject({ id: 'm1', data: { n: 1 }, ...headers });
  });

  it('is refused for good when AMQP cannot carry its id or its keys', () => {
    const refusal = expect.objectContaining({ code: 'DB_MSG_INVALID_OPTIONS', retryable: false });
    const long = 'é'.repeat(128);
    for (const bad of [
      { id: long },
      { id: 'half \udc00' },
      { id: 7 as unknown as string },
      { routingKey: long },
      { key: 'half \ud800' },
    ])
      expect(() => encodeMessage({ ...message, ...bad }), JSON.stringify(bad)).toThrow(refusal);
    const fits = { ...message, id: 'i'.repeat(255), key: long };
    expect(there(fits)).toEqual(fits);
  });
});

it('a subscription whose queues would have names too long for AMQP is refused', () => {
  const names = namesOf('shop.', 8);
  const refusal = expect.objectContaining({ code: 'DB_MSG_INVALID_OPTIONS', retryable: false });
  for (const name of ['s'.repeat(240), 'ü'.repeat(45), 'half \ud800'])
    expect(() => names.dead('orders', name)).toThrow(refusal);
  expect(names.dead('orders', 's'.repeat(200))).toMatch(/dead$/);
});

describe('headers that only the toolkit writes, from a stranger', () => {
  /** As amqplib decodes a table with such fields: neither a number nor a text can be made of it. */
  const table = { toString: 'a', valueOf: 'b' };
  const sent = encodeMessage(message);
  const withHeaders = (headers: Record<string, unknown>): ConsumeMessage =>
    ({
      content: sent.content,
      fields: {},
      properties: { ...sent.options, headers: { ...sent.options.headers, ...headers } },
    }) as unknown as ConsumeMessage;

  it('are tables that nothing can be made of (control)', () => {
    expect(() => String(table)).toThrow(TypeError);
    expect(() => Number(table)).toThrow(TypeError);
  });

  it.each(['x-db-state', 'x-db-abandoned', 'x-db-turn', 'x-db-redrive', 'x-db-redriven', 'x-db-due'])(
    'are read without a throw, and the message with them: %s',
    (name) => {
      const came = withHeaders({ [name]: table });
      const { message: read, malformed, note } = decodeMessage(came);
      expect([read?.id, malformed]).toEqual(['m1', undefined]);
      expect(note).toMatchObject({ abandoned: 0, turn: 0, redriven: false });
      expect(dueAtOf(came)).toBeUndefined();
      // A state that is none has to stay one: it is what makes the message a dead letter.
      expect(note.state).toBe(name === 'x-db-state' ? JSON.stringify(table) : undefined);
    },
  );

  it('count nothing when they are no numbers, and what they are when they are', () => {
    for (const none of ['x', 'NaN', '1e400', true, null, [], [7], Number.POSITIVE_INFINITY]) {
      const came = withHeaders({ 'x-db-abandoned': none, 'x-db-turn': none, 'x-delivery-count': none });
      expect(decodeMessage(came).note, String(none)).toMatchObject({ abandoned: 0, turn: 0 });
      expect(deliveryCountOf(came)).toBe(0);
    }
    const came = withHeaders({
      'x-db-abandoned': 2,
      'x-db-turn': '3',
      'x-delivery-count': 4,
      'x-db-due': '5',
    });
    expect(decodeMessage(came).note).toMatchObject({ abandoned: 2, turn: 3 });
    expect([deliveryCountOf(came), deliveryCountOf(withHeaders({ 'x-delivery-count': table }))]).toEqual([
      4, 0,
    ]);
    expect(dueAtOf(came)).toBe(5);
  });

  it('do not keep a copy with a state from being made of the message that has others beside', () => {
    const { parcel } = decodeMessage(withHeaders({ theirs: table }));
    const { headers } = copyOf(parcel, { state: 's' }).options;
    expect(headers).toMatchObject({ theirs: table, 'x-db-state': 's' });
  });

  it.each([
    'null',
    '{}',
    '{"state":null,"parcel":{"body":"","options":{}}}',
    '{"state":"","parcel":{"options":null}}',
  ])('make no envelope of what only has its content type: %s', (text) => {
    const { contentType } = copyOf(sent, { state: 's'.repeat(40_000) }).options;
    const came = arrived({ content: Buffer.from(text), options: { contentType } as Parcel['options'] });
    expect([came.message, came.note.state]).toEqual([undefined, undefined]);
    expect(came.malformed).toBeDefined();
    expect(rawOf(came)).toBe(text);
  });
});
