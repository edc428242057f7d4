/** Ids and keys that no engine could carry are refused before anything is stored. */
import Type from 'typebox';
import { expect, it } from 'vitest';
import { defineChannel } from './channel.ts';
import { createIds } from './ids.ts';
import { createManualClock } from './conformance/manual-clock.ts';
import type { Message } from './message.ts';
import { type LooseOptions, makeMessage } from './outgoing.ts';

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
])('refuses %j', (options, words) => {
  expect(() => make(options)).toThrow(
    expect.objectContaining({ code: 'DB_MSG_INVALID_OPTIONS', message: expect.stringContaining(words) }),
  );
});

it('takes an id of the greatest length, and makes one where none is given', () => {
  expect(make({ id: 'x'.repeat(255) }).id).toHaveLength(255);
  expect(make({}).id).not.toBe('');
});
