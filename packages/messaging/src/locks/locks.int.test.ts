/** Every lock engine, and leaders on it, against the one contract, on real servers. */
import { afterAll, describe, expect, it } from 'vitest';
import { leaderCases, sleepingLeader } from '../conformance/leader-cases.ts';
import { lockCases, sleeper } from '../conformance/lock-cases.ts';
import { lockFixture, type LockKind } from './testing/fixtures.ts';

const servers: readonly (readonly [LockKind, string])[] = [
  ['redis', 'REDIS_URL'],
  ['postgres', 'DATABASE_URL'],
  ['zookeeper', 'ZOOKEEPER_URL'],
];

for (const [kind, variable] of servers) {
  const url = process.env[variable];
  describe.skipIf(!url)(`locks on ${kind} (set ${variable} to run it)`, () => {
    const fixture = lockFixture(kind, url ?? '');
    afterAll(() => fixture.destroy());

    it.each([...lockCases, ...leaderCases])('$name', async ({ run }) => {
      await expect(run(fixture)).resolves.toBeUndefined();
    });

    it('control: without a check at the resource the late write of a sleeper goes through', async () => {
      expect(await sleeper(fixture, false)).toBe('written');
    });

    it('control: without a check at the resource the late write of a former leader goes through', async () => {
      expect(await sleepingLeader(fixture, false)).toBe('written');
    });
  });
}
