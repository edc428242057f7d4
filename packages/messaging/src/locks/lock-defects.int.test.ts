/** The contract catches each planted defect, with the case that is meant to. */
import { describe, expect, it } from 'vitest';
import { limitPatience } from '../conformance/fixture.ts';
import { lockCases } from '../conformance/lock-cases.ts';
import { type LockDefect, lockDefects } from '../conformance/lock-defects.ts';
import { lockFixture } from './testing/fixtures.ts';

const seenBy: Readonly<Record<LockDefect, string>> = {
  'everybody gets it': 'one try while it is held gets nothing',
  'release without compare': 'a release after the loss',
  'the fence starts again with each connection': 'the fence survives releases',
  'a renewal always succeeds': 'a renewal after the loss',
  'renewals are not sent': 'a holder keeps it beyond its ttl',
  'the lease never ends': 'a release after the loss',
};

limitPatience(8_000);
const url = process.env['REDIS_URL'];

describe.skipIf(!url)('planted defects of locks (set REDIS_URL to run it)', () => {
  for (const defect of Object.keys(lockDefects) as LockDefect[])
    it(`the contract catches: ${defect}`, async () => {
      const found = lockCases.filter(({ name }) => name.includes(seenBy[defect]));
      expect(found).toHaveLength(1);
      const [broken, whole] = [lockFixture('redis', url ?? '', defect), lockFixture('redis', url ?? '')];
      await expect(found[0]?.run(broken)).rejects.toBeInstanceOf(Error);
      await expect(found[0]?.run(whole)).resolves.toBeUndefined();
      await broken.destroy();
      await whole.destroy();
    });
});
