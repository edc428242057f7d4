/** The Redis engine against the suite that every engine has to pass, on the server that REDIS_URL names. */
import { describe, expect, it } from 'vitest';
import { capabilitiesOf, testEngine } from '../../conformance/suite.ts';
import { redisFixture } from './conformance-fixture.ts';

const url = process.env['REDIS_URL'];

describe.skipIf(!url)('on a real Redis server (set REDIS_URL to run it)', async () => {
  const create = redisFixture(url ?? '');
  const cases = url
    ? await capabilitiesOf(create).then(({ capabilities, traits }) =>
        testEngine('redis', capabilities, create, traits),
      )
    : [];

  it.each(cases)('$name', async ({ run }) => {
    await expect(run()).resolves.toBeUndefined();
  });

  it('has nothing that does not apply', () => {
    expect(cases.filter(({ notApplicable }) => notApplicable)).toEqual([]);
  });
});
