/** Ids and keys that no engine could carry are refused before anything is stored. */
import Type from 'typebox';
import { expect, it } from 'vitest';
import { causedBy } from './causation.ts';
import { defineChannel } from './channel.ts';
import { encodeCloudEvent } from './cloud-event.ts';
import { createIds } from './ids.ts';
import { createManualClock } from './conformance/manual-clock.ts';
import type { Message } from './message.ts';
import { createOutboxWriter } from './outbox.ts';
import { type LooseOptions, makeMessage } from './outgoing.ts';
import { faultOfOutgoing } from './sound-outgoing.ts';
import { refuseBadName } from './subscription-settings.ts';

const clock = createManualClock();
const plain = defineChannel({ name: 'plain', version: 1, schema: Type.Object({}) });
const make = (options: unknown): Message =>
  makeMessage({ clock, ids: createIds(clock), source: '/t' }, plain, {}, options as LooseOptions) as Message;

it.each([
  [{ id: '' }, 'id is a text that is not empty'],
  [{ id: 7 }, 'id is a text that is not empty'],
  [{ id: 'x'.repeat(256) }, 'id has at most 255 bytes'],
  [{ id: 'é'.repeat(128) }, 'id has at most 255 bytes'],
  [{ key: '' }, 'key is a text'],
  [{ correlationId: '' }, 'correlationId is a text'],
  [{ causationId: 3 }, 'causationId is a text'],
  [{ traceparent: 1 }, 'traceparent is a text'],
  [{ id: 'a\ud800' }, 'id is a text without lone surrogates'],
  [{ key: '\udfff' }, 'key is a text without lone surrogates'],
  [{ correlationId: '\ud83d' }, 'correlationId is a text without lone surrogates'],
  [{ id: 'a\0' }, 'id is a text without U+0000'],
  [{ key: '\0' }, 'key is a text without U+0000'],
  [{ causationId: 'a\0b' }, 'causationId is a text without U+0000'],
  [{ headers: { count: 3 } }, 'the header "count" is a text'],
  [{ headers: { gone: undefined } }, 'the header "gone" is a text'],
  [{ headers: { shop: { id: 1 } } }, 'the header "shop" is a text'],
  [{ headers: { shop: 'a\ud800b' } }, 'the header "shop" is a text without lone surrogates'],
  [{ headers: { 'a\ud800': 'x' } }, 'cannot be a header'],
  [{ headers: { id: 'x' } }, 'cannot be a header'],
  [{ headers: ['x'] }, 'headers are an object of texts'],
  [{ headers: 'x' }, 'headers are an object of texts'],
])('refuses %j', (options, words) => {
  expect(() => make(options)).toThrow(
    expect.objectContaining({ code: 'DB_MSG_INVALID_OPTIONS', message: expect.stringContaining(words) }),
  );
});

it('takes an id of the greatest length, and makes one where none is given', () => {
  for (const id of ['x'.repeat(255), 'é'.repeat(127), '😀'.repeat(63)]) expect(make({ id }).id).toBe(id);
  expect(make({}).id).not.toBe('');
});

it('takes every header that is a text', () => {
  const headers = { shop: '', mood: '😀', odd: 'a\0b' };
  expect(make({ headers, key: '😀' }).headers).toEqual(headers);
});

it.each([Number.NaN, Number.POSITIVE_INFINITY, 'tomorrow'])('refuses %s as a time', (at) => {
  const expiring = defineChannel({
    name: 'expiring',
    version: 1,
    schema: Type.Object({}),
    requires: { ttl: true, delay: { maxMs: 1_000 } },
  });
  const parts = { clock, ids: createIds(clock), source: '/t' };
  const refused = expect.objectContaining({ code: 'DB_MSG_INVALID_OPTIONS' });
  expect(() => makeMessage(parts, expiring, {}, { expiresAt: at as number })).toThrow(refused);
  expect(() => createOutboxWriter(parts)(expiring, {}, { dueAt: at as number })).toThrow(refused);
});

it('refuses the same in what was made elsewhere, before it is stored or forwarded', () => {
  const message = { ...make({}), headers: { count: 3 } } as unknown as Message;
  expect(() => encodeCloudEvent(message)).toThrow('the header "count" is a text');
  expect(faultOfOutgoing({ channel: 'plain', message })).toContain('the header "count" is a text');
  const keyed = { ...make({}), key: '\ud800' };
  expect(faultOfOutgoing({ channel: 'plain', message: keyed })).toContain('key of message');
  for (const name of ['id', 'source', 'key', 'correlationId', 'routingKey'])
    expect(faultOfOutgoing({ channel: 'plain', message: { ...make({}), [name]: 'a\0' } })).toContain(
      'U+0000',
    );
  expect(faultOfOutgoing({ channel: 'plain', message: make({ key: 'k', headers: { a: 'b' } }) })).toBe(
    undefined,
  );
});

it.each([
  [{ id: 'x'.repeat(256) }, 'the id of a message has at most 255 bytes'],
  [{ id: 'é'.repeat(128) }, 'the id of a message has at most 255 bytes'],
  [{ routingKey: 'x'.repeat(256) }, 'routingKey of message m has at most 255 bytes'],
  [{ routingKey: '😀'.repeat(64) }, 'routingKey of message m has at most 255 bytes'],
])('refuses in what was made elsewhere what is longer than an engine carries: %j', (part, words) => {
  const message = { ...make({ id: 'm' }), ...part };
  expect(faultOfOutgoing({ channel: 'plain', message })).toContain(words);
  const longest = { ...message, id: 'x'.repeat(255), routingKey: 'é'.repeat(127) };
  expect(faultOfOutgoing({ channel: 'plain', message: longest })).toBe(undefined);
});

it('lets a handler publish because of a message that no publisher here could have made', () => {
  expect(causedBy({ id: 'a\ud800', correlationId: '' })).toEqual({
    correlationId: 'a\ufffd',
    causationId: 'a\ufffd',
  });
  const caused = causedBy({ id: 'a\0', correlationId: 'b\0' });
  expect(caused).toEqual({ correlationId: 'b\ufffd', causationId: 'a\ufffd' });
  expect(make(caused)).toMatchObject(caused);
});

it.each(['', 'a\ud800', 'a\0', 7, 'x'.repeat(201)])('refuses a subscription called %j', (name) => {
  expect(() => refuseBadName(name as string)).toThrow(
    expect.objectContaining({ code: 'DB_MSG_INVALID_OPTIONS' }),
  );
});
