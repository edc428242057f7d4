/** The contract catches each planted defect on each server, with the case that is meant to. The servers are waited for side by side: most of it is waiting. */
import { describe, it } from 'vitest';
import { caseNamed, onFixture, registerControls } from '../conformance/controls.ts';
import { limitPatience } from '../conformance/fixture.ts';
import { lockCases } from '../conformance/lock-cases.ts';
import { type LockDefect, lockDefects } from '../conformance/lock-defects.ts';
import { lockFixture, type LockKind } from './testing/fixtures.ts';

type SeenBy = Readonly<Record<LockDefect, string>>;

const seenBy: SeenBy = {
  'everybody gets it': 'one try while it is held gets nothing',
  'release without compare': 'a release after the loss does not free',
  'the fence starts again with each connection': 'the fence survives releases',
  'a renewal always succeeds': 'a renewal after the loss',
  'renewals are not sent': 'a holder keeps it beyond its ttl',
  'the lease never ends': 'a release after the loss does not free',
};

/** A grant lasts as long as its session: a renewal only tells whether it does, and one that never ends is met after a SIGKILL. */
const seenOnZookeeper: SeenBy = {
  ...seenBy,
  'renewals are not sent': 'a renewal after the loss',
  'the lease never ends': 'after SIGKILL another gets it',
};

const servers: readonly (readonly [LockKind, string, SeenBy])[] = [
  ['redis', 'REDIS_URL', seenBy],
  ['postgres', 'DATABASE_URL', seenBy],
  ['zookeeper', 'ZOOKEEPER_URL', seenOnZookeeper],
];

// What a session and its tick take, twice; a defect that makes a case wait in vain costs as much.
limitPatience(6_000);

for (const [kind, variable, seen] of servers) {
  const url = process.env[variable];
  describe.skipIf(!url)(`locks on ${kind} (set ${variable} to run it)`, { concurrent: true }, () => {
    describe('planted defects', { concurrent: false }, () => {
      registerControls(
        it,
        `locks on ${kind}`,
        (Object.keys(lockDefects) as LockDefect[]).map((defect) => {
          const { name, run } = caseNamed(lockCases, seen[defect]);
          return {
            defect,
            caughtBy: name,
            healthy: () => onFixture(async () => lockFixture(kind, url ?? ''), run),
            defective: () => onFixture(async () => lockFixture(kind, url ?? '', defect), run),
          };
        }),
      );
    });
  });
}
