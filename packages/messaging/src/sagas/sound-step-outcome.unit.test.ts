import { expect, it } from 'vitest';
import { stepDone, stepFailed, stepUnknown, stepWaits } from '../saga.ts';
import { messageOn } from '../testing/sound-message.ts';
import { refuseUnstorable, soundStepOutcome } from './sound-step-outcome.ts';

const messages = [messageOn('paid')];
const cyclic: Record<string, unknown> = {};
cyclic['self'] = cyclic;

it.each([
  stepDone(),
  stepDone({ n: 1 }, { messages }),
  stepWaits(),
  stepWaits({ messages }),
  stepFailed('sold out'),
  stepUnknown('no answer'),
])('%j is what it is', (outcome) => {
  expect(soundStepOutcome(outcome, true)).toEqual(outcome);
});

it.each([
  [{ kind: 'done' }, { kind: 'done', result: undefined, messages: [] }],
  [{ kind: 'failed' }, { kind: 'failed', reason: 'the step gave no reason' }],
  [
    { kind: 'unknown', reason: new Error('gone') },
    { kind: 'unknown', reason: 'Error: gone' },
  ],
])('%j, written by hand, is made sound', (written, sound) => {
  expect(soundStepOutcome(written, false)).toEqual(sound);
});

it.each([
  ['nothing', undefined, /returned no outcome/],
  ['null', null, /returned no outcome/],
  ['an unknown kind', { kind: 'dnoe' }, /returned no outcome/],
  ['what looks like a throw', { threw: 'x' }, /returned no outcome/],
  ['a BigInt', stepDone({ cents: 5n }), /JSON cannot say .*BigInt/],
  ['a cycle', stepDone(cyclic), /JSON cannot say .*circular/],
  ['messages without an outbox', stepDone(1, { messages }), /no appendToOutbox/],
  ['messages of one that waits without an outbox', stepWaits({ messages }), /no appendToOutbox/],
  ['messages that are no array', { kind: 'done', messages: messages[0] }, /an array/],
  ['messages that are none', { kind: 'done', messages: [null] }, /an array/],
])('%s cannot be used, and it says why', (_name, returned, why) => {
  expect(soundStepOutcome(returned, false)).toEqual({
    kind: 'unusable',
    reason: expect.stringMatching(why),
  });
});

it.each([
  [
    'a BigInt in a message',
    messageOn('paid', { data: { cents: 5n } }),
    /"paid": it cannot be encoded .*BigInt/,
  ],
  ['a cycle in a message', messageOn('paid', { data: cyclic }), /cannot be encoded .*circular/],
  ['a message without an id', messageOn('paid', { id: '' }), /the id of a message/],
  ['U+0000 in an id', messageOn('paid', { id: 'a\0' }), /without U\+0000/],
  ['a header that is none', messageOn('paid', { headers: { A: 'b' } }), /"A" cannot be a header/],
  ['a time that is none', { ...messageOn('paid'), dueAt: Number.NaN }, /dueAt/],
  ['a channel without a name', { ...messageOn('paid'), channel: '' }, /the name of a channel/],
])('%s cannot be used, whether it is done or waits', (_name, message, why) => {
  for (const outcome of [
    stepDone(1, { messages: [...messages, message] }),
    stepWaits({ messages: [message] }),
  ])
    expect(soundStepOutcome(outcome, true)).toEqual({
      kind: 'unusable',
      reason: expect.stringMatching(why),
    });
});

it('a result of a person is held to the same', () => {
  expect(() => refuseUnstorable({ cents: 5n })).toThrow(
    expect.objectContaining({ code: 'DB_MSG_INVALID_OPTIONS' }),
  );
  refuseUnstorable(undefined);
});
