/** A bus that is stopped while its member joins: nobody stays in the group, and the process ends. */
import { Admin } from '@platformatic/kafka';
import { describe, expect, it } from 'vitest';
import { startChild } from '../../conformance/child-process.ts';
import { eventually } from '../../conformance/fixture.ts';
import { clientOf, createKafkaFixture, kafkaUrl } from './conformance-fixture.ts';

/** Far longer than the case takes: a group that is empty sooner was left. */
const SESSION_MS = 45_000;

async function membersOf(prefix: string): Promise<readonly number[]> {
  const admin = new Admin(clientOf(kafkaUrl ?? ''));
  try {
    const groups = [...(await admin.listGroups()).keys()].filter((group) => group.startsWith(prefix));
    return [...(await admin.describeGroups({ groups })).values()].map(({ members }) => members.size);
  } finally {
    await admin.close();
  }
}

describe.skipIf(kafkaUrl === undefined)(
  'a stop while a member joins its group (needs KAFKA_URL)',
  { timeout: 90_000 },
  () => {
    it('the group is empty when the bus has stopped, and the process ends by itself', async () => {
      const { prefix, childArgument, destroy } = await createKafkaFixture();
      const child = startChild(new URL('leaving-child.ts', import.meta.url), [
        childArgument({ sessionTimeoutMs: SESSION_MS }),
      ]);
      let isGone = false;
      void child.ended.then(() => {
        isGone = true;
      });
      try {
        await child.line('stopped');
        expect(await membersOf(prefix)).toEqual([0]);
        await eventually(
          async () => isGone,
          (gone) => gone,
          'the end of the process',
        );
        expect(child.trouble()).toBe('');
      } finally {
        child.send('SIGKILL');
        await destroy();
      }
    });
  },
);
