/** Ids and keys that no engine could carry are refused before anything is stored. */
import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { causedBy } from './causation.ts';
import { defineChannel } from './channel.ts';
import { encodeCloudEvent } from './cloud-event.ts';
import type { StandardSchema } from './contract.ts';
import type { Encoding } from './encoding.ts';
import { createIds } from './ids.ts';
import { createManualClock } from './conformance/manual-clock.ts';
import type { Message } from './message.ts';
import { createOutboxWriter } from './outbox.ts';
import { type LooseOptions, makeMessage } from './outgoing.ts';
import { makeReply } from './reply-channel.ts';
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

describe('a contract that answers later', () => {
  interface Counted {
    n: unknown;
  }
  const parts = { clock, ids: createIds(clock), source: '/t' };
  /** Looks at once, or when it is let. */
  const asked: unknown[] = [];
  const contractOf = (gate: Promise<void>, isEarly: boolean): StandardSchema => ({
    '~standard': {
      version: 1,
      vendor: 't',
      async validate(value: unknown) {
        asked.push(value);
        const fits = (): boolean => typeof (value as Counted).n === 'number';
        const early = fits();
        await gate;
        return (isEarly ? early : fits()) ? { value } : { issues: [{ message: 'n is a number' }] };
      },
    },
  });
  const int32: Encoding = {
    contentType: 'application/x-int32',
    encode(data) {
      const bytes = Buffer.alloc(4);
      bytes.writeInt32BE((data as { n: number }).n);
      return bytes;
    },
    decode: (bytes) => ({ n: Buffer.from(bytes).readInt32BE() }),
  };
  const unfit = { code: 'DB_MSG_INVALID_DATA', message: expect.stringContaining('n is a number') };

  it.each([
    [true, 'looks at once'],
    [false, 'looks later'],
  ])('sends what it has seen, whatever became of the object: %s, it %s', async (isEarly) => {
    const gate = Promise.withResolvers<void>();
    const schema = contractOf(gate.promise, isEarly);
    const channel = defineChannel({ name: 'later', version: 1, schema });
    const headers: Record<string, string> = { shop: 'one' };
    const sound: Counted = { n: 1 };
    const unsound: Counted = { n: 'x' };
    // Twice, because the first time it is not yet known that it answers later.
    const made = [1, 2].map((n) => {
      sound.n = n;
      return makeMessage(parts, channel, sound, { headers }) as Promise<Message>;
    });
    const refused = makeMessage(parts, channel, unsound, {}) as Promise<Message>;
    sound.n = 'x';
    headers['shop'] = 'two';
    unsound.n = 1;
    gate.resolve();
    await expect(refused).rejects.toMatchObject(unfit);
    expect(await Promise.all(made)).toMatchObject([
      { data: { n: 1 }, headers: { shop: 'one' } },
      { data: { n: 2 }, headers: { shop: 'one' } },
    ]);
  });

  it('of an encoding the bytes are taken before, and are what is checked', async () => {
    const gate = Promise.withResolvers<void>();
    const schema = contractOf(gate.promise, false);
    const channel = defineChannel({ name: 'later', version: 1, schema, encoding: int32 });
    const data: Counted = { n: 7 };
    const made = makeMessage(parts, channel, data, {});
    data.n = 'x';
    gate.resolve();
    expect(await made).toMatchObject({ data: Buffer.from([0, 0, 0, 7]), contentType: int32.contentType });
  });

  it('a reply too', async () => {
    const gate = Promise.withResolvers<void>();
    const reply = contractOf(gate.promise, true);
    const channel = defineChannel({ name: 'later', version: 1, schema: Type.Object({}), reply });
    const data: Counted = { n: 1 };
    const made = makeReply(parts, make({}), channel, data);
    data.n = 'x';
    gate.resolve();
    expect(await made).toMatchObject({ data: { n: 1 } });
  });

  it('is asked once for each message, but for the first; what is no JSON is told', async () => {
    asked.length = 0;
    const channel = defineChannel({ name: 'later', version: 1, schema: contractOf(Promise.resolve(), true) });
    for (const n of [1, 2, 3]) await makeMessage(parts, channel, { n }, {});
    expect(asked.length).toBe(4);
    expect(() => makeMessage(parts, channel, { n: 1n }, {})).toThrow(
      expect.objectContaining({ code: 'DB_MSG_INVALID_DATA', message: expect.stringContaining('not JSON') }),
    );
  });
});
