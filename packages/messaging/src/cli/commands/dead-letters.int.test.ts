/** `dead-letters groups | list | show` on an embedded file. */
import { expect, it } from 'vitest';
import { jsonOf, useShopFile } from '../testing/fixture.ts';

const shop = useShopFile();

it('groups, list and show tell the causes, the letters and one with its history', async () => {
  await shop.withLetters(3);
  const groups = await shop.onFile('dead-letters', 'groups');
  expect(groups.out).toMatch(/2 +order\.placed +mailer +retry: the mail server is busy/);
  const list = await shop.onFile('dead-letters', 'list', '--group', 'deadLetter: no such address', '--json');
  const letters = jsonOf<{ id: string; messageId: string }[]>(list);
  expect(letters).toHaveLength(1);
  for (const id of [letters[0]?.id ?? '', letters[0]?.messageId ?? '']) {
    const shown = await shop.onFile('dead-letters', 'show', id);
    expect(shown.out).toContain('no such address');
    expect(shown.out).toMatch(/1 {2}\d{4}-.* deadLetter: no such address/);
  }
  expect((await shop.onFile('dead-letters', 'list', '--limit', '1')).err).toContain(
    'There may be more: --after',
  );
});
