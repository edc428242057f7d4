/** What a module of `--channels` may export, and what is refused instead of passed over. */
import Type from 'typebox';
import { expect, it } from 'vitest';
import { defineChannel } from '../channel.ts';
import { channelsOf } from './channels-module.ts';

const placed = defineChannel({ name: 'placed', version: 1, schema: Type.Object({}) });

it('finds the channels of its subscriptions too', () => {
  const subscriptions = [{ channel: placed, name: 'mailer' }];
  expect(channelsOf('module', { subscriptions })).toMatchObject({ channels: [placed], subscriptions });
});

it.each([
  ['subscriptions', [{ channel: 'placed', name: 'mailer' }]],
  ['subscriptions', [{ channel: placed, name: 'mailer' }, { channel: placed }]],
  ['subscriptions', null],
  ['publishes', ['placed']],
])('refuses %s that are not understood: %j', (name, value) => {
  expect(() => channelsOf('module', { placed, [name]: value })).toThrow(`its "${name}" is not understood`);
});
