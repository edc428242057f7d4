/** The contract catches each planted defect, with the case that is meant to. */
import { describe, it } from 'vitest';
import { caseNamed, onFixture, registerControls } from '../conformance/controls.ts';
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
  registerControls(
    it,
    'locks',
    (Object.keys(lockDefects) as LockDefect[]).map((defect) => {
      const { name, run } = caseNamed(lockCases, seenBy[defect]);
      return {
        defect,
        caughtBy: name,
        healthy: () => onFixture(async () => lockFixture('redis', url ?? ''), run),
        defective: () => onFixture(async () => lockFixture('redis', url ?? '', defect), run),
      };
    }),
  );
});
