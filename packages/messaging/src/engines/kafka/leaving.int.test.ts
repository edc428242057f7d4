/** Leaving a group: a bus that is stopped while its member joins, and a consumer that comes in the moment the last one leaves. */
import { Admin } from '@platformatic/kafka';
import { describe, expect, it } from 'vitest';
import { startChild } from '../../conformance/child-process.ts';
import { plain } from '../../conformance/channels.ts';
import { systemClock } from '../../clock.ts';
import { Collector, type EngineFixture, eventually } from '../../conformance/fixture.ts';
import type { ChannelSpec, Consumer, Delivery, EngineConnection } from '../../engine.ts';
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

const channel: ChannelSpec = {
  name: plain.name,
  order: 'none',
  onFailure: 'skip',
  priorityLevels: 1,
  ephemeral: false,
  routing: 'fanout',
  keepMs: undefined,
};
const spec = { channel: plain.name, subscription: 'one', prefetch: 10, leaseMs: 30_000 };

async function connected({ open }: EngineFixture): Promise<EngineConnection> {
  const connection = await open().connect({ clock: systemClock, onFatal: () => {} });
  await connection.declare({ channels: [channel], subscriptions: [{ channel: plain.name, name: 'one' }] });
  return connection;
}

describe.skipIf(kafkaUrl === undefined)('leaving a group (needs KAFKA_URL)', { timeout: 90_000 }, () => {
  it('a consumer that comes in the moment the last one leaves gets what is there', async () => {
    const fixture = await createKafkaFixture();
    const connection = await connected(fixture);
    try {
      const got = new Collector<Delivery>();
      const subscribe = (): Promise<Consumer> =>
        connection.subscribe(spec, (deliveries) => {
          for (const one of deliveries) got.add(one);
        });
      const last = await subscribe();
      // It asks for the reader of the subscription, and has not got it when that begins to close.
      const coming = subscribe();
      await Promise.all([last.close(), coming]);
      const message = {
        id: 'm1',
        type: plain.name,
        version: 1,
        source: '/s',
        time: '',
        data: { n: 1 },
        headers: {},
      };
      await connection.publish([{ channel: plain.name, message }]);
      const [one] = (await got.waitFor(1)) as [Delivery];
      expect(await (await coming).settle([{ kind: 'ack', token: one.token }])).toEqual(['settled']);
    } finally {
      await connection.close();
      await fixture.destroy();
    }
  });

  it('a consumer that comes in the moment the connection closes is refused, and leaves nobody in the group', async () => {
    const fixture = await createKafkaFixture();
    try {
      const connection = await connected(fixture);
      await connection.subscribe(spec, () => {});
      const coming = connection.subscribe(spec, () => {});
      const closing = connection.close();
      await expect(coming).rejects.toMatchObject({ code: 'DB_MSG_STOPPED' });
      await closing;
      expect(await membersOf(fixture.prefix)).toEqual([0]);
    } finally {
      await fixture.destroy();
    }
  });

  it('stopped while its member joins, the bus leaves an empty group, and the process ends by itself', async () => {
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
});
