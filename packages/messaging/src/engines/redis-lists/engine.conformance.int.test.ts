/** The engine on Redis lists against the suite, on the server that REDIS_URL names. What a list cannot do is written out. */
import { describe, expect, it } from 'vitest';
import { capabilitiesOf, registerCases, testEngine } from '../../conformance/suite.ts';
import { listsFixture } from './conformance-fixture.ts';

const url = process.env['REDIS_URL'];
const oneQueue = 'a list is one queue: a second subscription of a channel is refused by name';

/** Beyond what the capabilities say: name of the case -> why it does not apply. */
const notForLists: Readonly<Record<string, string>> = {
  'each named subscription gets every message, also one that joins later': oneQueue,
  'an edited redrive is a new message in the place of the letter, in its subscription only': oneQueue,
  'the view shows each subscription by itself': oneQueue,
};

describe.skipIf(!url)('on a real Redis server (set REDIS_URL to run it)', { timeout: 60_000 }, async () => {
  const create = listsFixture(url ?? '');
  const cases = url
    ? await capabilitiesOf(create).then(({ capabilities, traits }) =>
        testEngine('redis-lists', capabilities, create, traits),
      )
    : [];
  const nameOf = (name: string): string => name.replace('redis-lists: ', '');

  registerCases(
    it,
    cases.map((one) => ({ ...one, notApplicable: one.notApplicable ?? notForLists[nameOf(one.name)] })),
  );

  it('every reason belongs to a case of the suite', () => {
    const names = new Set(cases.map(({ name }) => nameOf(name)));
    expect(Object.keys(notForLists).filter((name) => !names.has(name))).toEqual([]);
  });
});
