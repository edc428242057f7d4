/** What others put where only the toolkit writes is passed over or shown, and never thrown. */
import type { ConsumeMessage } from 'amqplib';
import { describe, expect, it } from 'vitest';
import { bindingsOn } from './bindings.ts';
import { decodeHint, type Hint } from './hints.ts';
import { decodeLetter, encodeLetter } from './letters.ts';
import { decodeNotes, encodeNotes } from './notes.ts';
import { decodeMessage } from './wire.ts';

const incoming = (text: string): ConsumeMessage =>
  ({ content: Buffer.from(text), fields: {}, properties: { headers: {} } }) as unknown as ConsumeMessage;

const foreign = [
  '',
  'hello',
  '{',
  'null',
  '5',
  '"text"',
  '{}',
  '[]',
  '[null]',
  '[5]',
  '{"id":5}',
  '[{"copy":1}]',
];

const stored = encodeLetter(
  decodeMessage(incoming('hello')),
  { id: 'l1', reason: 'r', group: 'g', at: 1, history: [], stateOnRedrive: undefined },
  { channel: 'c', subscription: 's', key: undefined, inLane: false },
).content.toString();

describe('a dead letter', () => {
  it('is read as it was written', () => {
    expect(decodeLetter(incoming(stored))).toMatchObject({ id: 'l1', raw: 'hello', turn: 0 });
  });

  it.each(foreign)('is not: %s', (text) => {
    expect(decodeLetter(incoming(text))).toBeUndefined();
  });

  it.each(Object.keys(JSON.parse(stored) as object))('is none with another kind of %s', (name) => {
    const spoilt = { ...(JSON.parse(stored) as object), [name]: [{}][0] };
    expect(decodeLetter(incoming(JSON.stringify(spoilt)))).toBeUndefined();
  });
});

describe('notes', () => {
  it('are those that can be read', () => {
    const notes = [
      { copy: 'a', count: 1 },
      { copy: 'b', count: 2, waits: { state: '', dueAt: 5 } },
    ];
    const mixed = [...notes, null, 5, { copy: 'c' }, { copy: 'd', count: 1, waits: { state: 1 } }];
    expect(decodeNotes(incoming(encodeNotes(notes).content.toString()))).toEqual(notes);
    expect(decodeNotes(incoming(JSON.stringify(mixed)))).toEqual(notes);
  });

  it.each(foreign)('are none in %s', (text) => {
    expect(decodeNotes(incoming(text))).toEqual([]);
  });
});

describe('bindings', () => {
  const sound = ['orders.*', { match: 'any', headers: { tier: 'gold' } }];
  it('are read as they were written', () => {
    expect(bindingsOn(incoming(JSON.stringify(sound)))).toEqual(sound);
    expect(bindingsOn(incoming('[]'))).toEqual([]);
  });

  it.each([
    ...foreign.filter((text) => text !== '[]'),
    '[{"match":"some","headers":{}}]',
    '[{"match":"all"}]',
    '[{"match":"all","headers":{"a":1}}]',
  ])('are not: %s', (text) => {
    expect(bindingsOn(incoming(text))).toBeUndefined();
  });
});

describe('a hint', () => {
  const place = { channel: 'c', subscription: 's' };
  it.each<Hint>([
    { kind: 'discarded', ...place },
    { kind: 'here', member: 'm', ...place },
    { kind: 'gone', member: 'm', ...place },
    { kind: 'ended', queue: 'q' },
  ])('is heard: %j', (hint) => {
    expect(decodeHint(incoming(JSON.stringify(hint)))).toEqual(hint);
  });

  it.each([...foreign, '{"kind":"ended"}', '{"kind":"here","channel":"c"}', '{"kind":"other","queue":"q"}'])(
    'is not: %s',
    (text) => {
      expect(decodeHint(incoming(text))).toBeUndefined();
    },
  );
});
