/** A value of a definition that is mistyped is refused by name, with what it may be: taken in silence it would be one that was never asked for. */
import Type from 'typebox';
import { describe, expect, it } from 'vitest';
import { type ChannelDefinition, defineChannel } from './channel.ts';

const schema = Type.Object({ n: Type.Integer() });
const base = { name: 'a.b', version: 1, schema };
/** As it comes from JavaScript. */
const define = (part: object) => defineChannel({ ...base, ...part } as ChannelDefinition);
const requiring = (requires: unknown): object => ({ requires });
const code = { encode: () => new Uint8Array(), decode: () => ({}) };
const same = (data: unknown): unknown => data;

describe('a definition', () => {
  it.each<[object, string]>([
    [{ order: 'Key' }, "order is 'none', 'key', or left out, not 'Key'"],
    [{ order: true }, "order is 'none', 'key', or left out, not true"],
    [{ order: 'key', onFailure: 'blockkey' }, "onFailure is 'skip', 'blockKey', 'sequencedDlq', or left out"],
    [
      requiring({ confirm: 'sync' }),
      "requires.confirm is 'none', 'memory', 'disk', 'replicated', or left out",
    ],
    [requiring({ routing: 'fanout' }), "requires.routing is 'direct', 'topic', 'headers', or left out"],
    [requiring({ ttl: 'false' }), "requires.ttl is true, or left out, not 'false'"],
    [requiring({ broadcast: 1 }), 'requires.broadcast is true, or left out, not 1'],
    [requiring({ deadLetters: 'yes' }), "requires.deadLetters is true, or left out, not 'yes'"],
    [requiring({ emulation: 'delay' }), "requires.emulation is a list, not 'delay'"],
    [requiring({ emulation: ['delay', 'prio'] }), "each of requires.emulation is 'delay', 'priority', 'ttl'"],
    [requiring({ emulation: [undefined] }), 'each of requires.emulation is'],
    [requiring({ replay: true }), 'requires.replay is written replay: { keepMs: 86_400_000 }, not true'],
    [requiring({ delay: true }), 'requires.delay is written delay: { maxMs: 60_000 }, not true'],
    [requiring({ delay: { maxms: 5 } }), 'requires.delay is written delay: { maxMs: 60_000 }, not an object'],
    [requiring({ delay: {} }), 'requires.delay.maxMs is a number above 0'],
    [requiring({ delay: { maxMs: '1000' } }), 'requires.delay.maxMs is a number above 0'],
    [requiring({ delay: { maxMs: Number.POSITIVE_INFINITY } }), 'requires.delay.maxMs is a number above 0'],
    [requiring({ delay: { maxMs: 0 } }), 'requires.delay.maxMs is a number above 0'],
    [
      requiring({ replay: { keepMs: Number.POSITIVE_INFINITY } }),
      'requires.replay.keepMs is a number above 0',
    ],
    [requiring({ replay: { keepMs: Number.NaN } }), 'requires.replay.keepMs is a number above 0'],
    [requiring({ priority: 3 }), 'requires.priority is written priority: { levels: 3 }, not 3'],
    [
      requiring({ priority: { levels: '3' } }),
      'requires.priority.levels is a whole number from 2 to 10, not 3',
    ],
    [requiring({ priority: { levels: 11 } }), 'requires.priority.levels is a whole number from 2 to 10'],
    [requiring({ size: { maxBytes: 1.5 } }), 'requires.size.maxBytes is a whole number from 1'],
    [requiring({ size: null }), 'requires.size is written size: { maxBytes: 1_000_000 }, not null'],
    [requiring([]), 'requires is an object, or left out'],
    [requiring(true), 'requires is an object, or left out'],
    [{ name: ['a'] }, 'the name has to be lower-case letters'],
    [{ name: 'A b' }, 'the name has to be lower-case letters'],
    [{ version: '1' }, 'version is a whole number from 1'],
    [{ version: 0 }, 'version is a whole number from 1'],
    [{ schema: undefined }, 'schema is a JSON Schema or a Standard Schema'],
    [{ reply: true }, 'reply is a schema, or left out'],
    [{ encoding: 'avro' }, 'encoding has a contentType, encode and decode'],
    [{ encoding: { contentType: '', ...code } }, 'encoding has a contentType, encode and decode'],
    [{ encoding: { contentType: 'a/b', encode: same } }, 'encoding has a contentType, encode and decode'],
    [{ upcasters: same }, 'upcasters are functions by the older version, or left out'],
    [{ version: 2, upcasters: { v1: same } }, "a whole number from 1: 'v1' is none"],
    [{ version: 2, upcasters: { 0: same, 1: same } }, "a whole number from 1: '0' is none"],
    [{ version: 2, upcasters: { 1: 'same' } }, "a whole number from 1: '1' is none"],
    [{ version: 3, upcasters: { 1: same } }, 'upcasters lead from version 1 to 3, but not from 2'],
    [{ version: 1, upcasters: { 1: same } }, 'an upcaster from version 1 leads beyond version 1'],
  ])('with %j is refused', (part, words) => {
    expect(() => define(part)).toThrow(
      expect.objectContaining({ code: 'DB_MSG_INVALID_OPTIONS', message: expect.stringContaining(words) }),
    );
  });

  it.each([undefined, null, 'orders'])('that is %j is refused', (definition) => {
    expect(() => defineChannel(definition as never)).toThrow(
      expect.objectContaining({ code: 'DB_MSG_INVALID_OPTIONS' }),
    );
  });

  it.each<[object]>([
    [{ order: 'none', onFailure: 'skip', requires: {} }],
    [{ order: undefined, onFailure: undefined, requires: undefined, reply: undefined, upcasters: undefined }],
    [{ order: 'key', onFailure: 'blockKey', requires: { ttl: true, emulation: ['order', 'ttl'] } }],
    [requiring({ delay: { maxMs: 0.5 }, priority: { levels: 2 }, replay: { keepMs: 0.5 } })],
    [requiring({ delay: { maxMs: Number.MAX_SAFE_INTEGER }, size: { maxBytes: 1 }, routing: 'topic' })],
    [requiring({ confirm: 'replicated', deadLetters: true, ttl: undefined, delay: undefined })],
    [{ encoding: { contentType: 'a/b', ...code }, version: 3, upcasters: { 1: same, 2: same } }],
    [{ schema: Object.assign(() => true, { '~standard': { version: 1, vendor: 't', validate: same } }) }],
  ])('with %j is taken (the control)', (part) => {
    expect(define(part).name).toBe('a.b');
  });
});
