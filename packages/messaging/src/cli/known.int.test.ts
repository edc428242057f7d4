/** Names that nothing has are refused, with those there are: a typo must not look like nothing to do. */
import { expect, it } from 'vitest';
import { ended, jsonOf, start, useShopFile } from './testing/fixture.ts';

const shop = useShopFile();

it('a name that the engine does not know, with the names it does', async () => {
  await shop.withLetters(1);
  const publish = await ended(start(['publish', '--channel', 'nope', '--url', shop.url()]), '1');
  expect(publish).toMatchObject({
    code: 2,
    err: expect.stringContaining('It knows: mail.wanted, order.placed'),
  });
  const place = await shop.onFileHere('peek', '--channel', 'order.placed', '--subscription', 'nope');
  expect(place).toMatchObject({ code: 2, err: expect.stringContaining('It has: mailer, report') });
  const redriven = await shop.onFileHere('redrive', '--channel', 'nope');
  expect(redriven).toMatchObject({ code: 2, err: expect.stringContaining('"nope" is not known') });
  const letter = await shop.onFileHere('dead-letters', 'show', 'nope');
  expect(letter).toMatchObject({ code: 2, err: expect.stringContaining('no dead letter "nope"') });
});

it.each<[string, readonly string[], RegExp]>([
  [
    'group',
    ['redrive', '--group', 'nope'],
    /no dead letter has the group "nope"\nThere are: "retry: the mail server is busy", "/,
  ],
  [
    'group, to be discarded',
    ['discard', '--group', 'nope', '--channel', 'order.placed', '--confirm', 'order.placed'],
    /no dead letter has the group "nope"\nThere are: /,
  ],
  ['group, only counted', ['redrive', '--group', 'nope', '--dry-run'], /no dead letter has the group/],
  [
    'subscription',
    ['redrive', '--subscription', 'nope'],
    /no channel has a subscription "nope"\nThere are: mailer, report/,
  ],
  [
    'subscription of a channel',
    ['dead-letters', 'list', '--channel', 'order.placed', '--subscription', 'nope'],
    /has no subscription "nope"\nThere are: mailer, report/,
  ],
  [
    'channel, to be listed',
    ['dead-letters', 'list', '--channel', 'nope'],
    /"nope" is not known[\s\S]*It knows: mail\.wanted, order\.placed/,
  ],
  ['key', ['redrive', '--key', 'nope'], /no dead letter has the key "nope"/],
  [
    'message',
    ['redrive', '--message-id', 'nope', '--message-id', 'no'],
    /no dead letter of message "nope", "no"/,
  ],
])('a %s that there is none of, with those there are', async (_name, args, text) => {
  await shop.withLetters(3);
  const result = await shop.onFileHere(...args);
  expect(result).toMatchObject({ code: 2, out: '' });
  expect(result.err).toMatch(text);
  const { error, remedy, exitCode } = jsonOf<Record<string, unknown>>(
    await shop.onFileHere(...args, '--json'),
  );
  expect(`${String(error)}\n${String(remedy)}`).toMatch(text);
  expect(exitCode).toBe(2);
});
