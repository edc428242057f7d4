import type { ConsumeMessage } from 'amqplib';
import { describe, expect, it } from 'vitest';
import type { Message } from '../../message.ts';
import { namesOf } from './names.ts';
import { decodeMessage, encodeDescendant, encodeMessage, type Parcel, rawOf, type Received } from './wire.ts';

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
