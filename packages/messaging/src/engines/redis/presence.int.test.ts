/**
 * How those who are left find that somebody is gone, one sign at a time: the times of the other signs are set out of reach. Each case has its control, the same
 * with the sign off.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { type Clock, systemClock } from '../../clock.ts';
import { plain, sequenced } from '../../conformance/channels.ts';
import { Collector, eventually } from '../../conformance/fixture.ts';
import type { Consumer, Delivery, EngineConnection } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import { createManualClock } from '../../conformance/manual-clock.ts';
import { type OpenClient, openClient, type RedisClient } from '../../redis/client.ts';
import { redisFixture, type RedisFixture } from './conformance-fixture.ts';
import { cutProxyTo, type CutProxy } from '../../redis/testing/cut-proxy.ts';
import { redisEngineOn } from './engine.ts';
import type { PresenceTimes } from './presence.ts';
import { bare, specOf } from './redis-case-parts.ts';

const url = process.env['REDIS_URL'];
const never = 2 ** 40;
/** Long against every time of grace below. */
const leaseMs = 600_000;
const looksToBeSure = 30;

const blind = {
  beatMs: 50,
  stillMs: never,
  unseenMs: never,
  lookMs: never,
  graceMs: never,
  endedGraceMs: never,
};
/** All of its connections at once tell no more than its main one. */
const byConnection = { ...blind, beatMs: 100, lookMs: 20, graceMs: 200, endedGraceMs: 200 };
/** Only all of its connections at once tell anything. */
const byEveryConnection = { ...byConnection, graceMs: never };
const byBeat = { ...blind, stillMs: 200 };
const byBeatAlone = { ...blind, unseenMs: 200 };

interface Member {
  readonly connection: EngineConnection;
  readonly consumer: Consumer;
  readonly got: Collector<Delivery>;
  /** As by SIGKILL: its connections are closed, nothing is said, nobody comes back. */
  readonly vanish: () => void;
  /** Only the connection that it has on record. */
  readonly loseMain: () => void;
  /** How often it looked at the connections of others. */
  readonly looks: Collector<string>;
}

interface Joining {
  readonly url?: string;
  readonly times?: PresenceTimes;
  readonly clock?: Clock;
  /** CLIENT LIST is denied. */
  readonly denied?: boolean;
}

const fixtures: RedisFixture[] = [];
const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
  for (const fixture of fixtures.splice(0)) await fixture.destroy();
});

async function newFixture(): Promise<RedisFixture> {
  const fixture = await redisFixture(url ?? '')();
  fixtures.push(fixture);
  return fixture;
}

/** A consumer of subscription `one` with room for one message. */
async function join(fixture: RedisFixture, channel: string, joining: Joining = {}): Promise<Member> {
  const clients: RedisClient[] = [];
  const looks = new Collector<string>();
  const watched = (client: RedisClient): RedisClient => {
    clients.push(client);
    return {
      ...client,
      another: async (blockMs) => watched(await client.another(blockMs)),
      async send(args) {
        if (args[1] !== 'LIST') return client.send(args);
        if (args[2] === 'ID' && args.length > 4) looks.add(args.join(' '));
        if (joining.denied) throw new MessagingError('DB_MSG_ENGINE_REFUSED', 'redis: NOPERM');
        return client.send(args);
      },
    };
  };
  const open: OpenClient = async (options, onReady) => watched(await openClient(options, onReady));
  const settings = { url: joining.url ?? fixture.url, prefix: fixture.prefix };
  const connection = await redisEngineOn(open, settings, joining.times ?? blind).connect({
    clock: joining.clock ?? systemClock,
    onFatal: () => {},
  });
  closing.push(() => connection.close().catch(() => {}));
  await connection.declare({
    channels: [specOf(channel, channel === plain.name ? 'none' : 'key')],
    subscriptions: [{ channel, name: 'one' }],
  });
  const got = new Collector<Delivery>();
  const consumer = await connection.subscribe(
    { channel, subscription: 'one', prefetch: 1, leaseMs },
    (deliveries) => deliveries.forEach((one) => got.add(one)),
  );
  return {
    connection,
    consumer,
    got,
    looks,
    vanish: () => clients.forEach((client) => client.end()),
    loseMain: () => clients[0]?.end(),
  };
}

const publish = (member: Member, channel: string, id: string): Promise<unknown> =>
  member.connection.publish([{ channel, message: { ...bare(channel), id, key: 'a' } }]);

/** One that holds a message, and one that is there to take it over. */
async function holderAndOther(
  channel: string,
  { holder: how = {}, other: way = {} }: { holder?: Joining; other?: Joining },
): Promise<{ fixture: RedisFixture; holder: Member; other: Member; held: Delivery }> {
  const fixture = await newFixture();
  const holder = await join(fixture, channel, how);
  await publish(holder, channel, 'held');
  const [held] = (await holder.got.waitFor(1)) as [Delivery];
  const other = await join(fixture, channel, way);
  return { fixture, holder, other, held };
}

/** Long enough, in looks and beats of another one, for every rule but the leases. */
async function afterManyBeats(fixture: RedisFixture, other: Member): Promise<void> {
  if (other.looks.values.length > 0) await other.looks.waitFor(other.looks.values.length + looksToBeSure);
  const beats = new Set<unknown>();
  await eventually(
    async () => {
      const all = (await fixture.raw(
        'ZRANGE',
        `${fixture.prefix}:alive`,
        '0',
        '-1',
        'WITHSCORES',
      )) as string[];
      for (const score of all) beats.add(score);
      return beats.size;
    },
    (size) => size >= looksToBeSure,
    'beats',
  );
}

describe.skipIf(!url)('who is gone, and who is not (set REDIS_URL to run it)', { timeout: 30_000 }, () => {
  const channels = [plain.name, sequenced.name];

  it.each(channels)(
    'a closed connection alone tells it: what was held comes at once (%s)',
    async (channel) => {
      const { holder, other } = await holderAndOther(channel, { other: { times: byConnection } });
      holder.vanish();
      const [taken] = await other.got.waitFor(1);
      expect(taken).toMatchObject({ message: { id: 'held' }, abandoned: 1 });
    },
  );

  it('one that shows no connection at all is not waited for as long as one that lost its main one', async () => {
    const { holder, other } = await holderAndOther(plain.name, { other: { times: byEveryConnection } });
    holder.vanish();
    expect((await other.got.waitFor(1))[0]).toMatchObject({ message: { id: 'held' }, abandoned: 1 });
  });

  it('control: one that has another connection left is', async () => {
    const { fixture, holder, other } = await holderAndOther(plain.name, {
      other: { times: byEveryConnection },
    });
    holder.loseMain();
    await afterManyBeats(fixture, other);
    expect(other.got.values).toEqual([]);
  });

  it.each(channels)('control: without the watch nobody takes it (%s)', async (channel) => {
    const { fixture, holder, other } = await holderAndOther(channel, {});
    holder.vanish();
    await afterManyBeats(fixture, other);
    expect(other.got.values).toEqual([]);
  });

  it('several that end together are all found, also those that only the dead had watched', async () => {
    const fixture = await newFixture();
    const members: Member[] = [];
    for (let n = 0; n < 7; n += 1) {
      const member = await join(fixture, plain.name, { times: byConnection });
      members.push(member);
      await publish(member, plain.name, `m${n}`);
      await member.got.waitFor(1);
    }
    const other = members.pop() as Member;
    for (const member of members) member.vanish();
    const seen = new Set(['m6']);
    for (let n = 1; seen.size < 7; n += 1) {
      const { token, message } = (await other.got.waitFor(n))[n - 1] as Delivery;
      seen.add(message?.id ?? '');
      await other.consumer.settle([{ kind: 'ack', token }]);
    }
    expect(seen.size).toBe(7);
  });

  it.each(channels)('one that comes back within the grace keeps what it holds (%s)', async (channel) => {
    const proxy = await proxied();
    const times = { ...byConnection, graceMs: 2_000, endedGraceMs: 2_000 };
    const { fixture, holder, other, held } = await holderAndOther(channel, {
      holder: { url: proxy.url, times: byConnection },
      other: { times },
    });
    await other.looks.waitFor(1);
    const before = await connectionsOf(fixture);
    proxy.cut({ refuse: false });
    await eventually(
      () => connectionsOf(fixture),
      (now) => now.some((id) => !before.includes(id)),
      'another connection on record',
    );
    await afterManyBeats(fixture, other);
    expect(other.got.values).toEqual([]);
    expect(await holder.consumer.settle([{ kind: 'ack', token: held.token }])).toEqual(['settled']);
  });

  it.each(channels)(
    'control: one that stays away is taken over; what it settles then is lost, and it goes on (%s)',
    async (channel) => {
      const proxy = await proxied();
      const { holder, other, held } = await holderAndOther(channel, {
        holder: { url: proxy.url },
        other: { times: byConnection },
      });
      await other.looks.waitFor(1);
      proxy.cut({ refuse: true });
      const [taken] = (await other.got.waitFor(1)) as [Delivery];
      expect(taken).toMatchObject({ message: { id: 'held' }, abandoned: 1 });
      proxy.mend();
      const results = await eventually(
        () =>
          holder.consumer
            .settle([{ kind: 'ack', token: held.token }])
            .catch((error: MessagingError) => (error.retryable ? undefined : [error.code])),
        (answer) => answer !== undefined,
        'an answer to the late settlement',
      );
      expect(results).toEqual(['lost']);
      expect(await other.consumer.settle([{ kind: 'ack', token: taken.token }])).toEqual(['settled']);
      await other.consumer.pause();
      await publish(other, channel, 'next');
      const [, next] = await holder.got.waitFor(2);
      expect(next).toMatchObject({ message: { id: 'next' }, abandoned: 0 });
      expect(await holder.consumer.settle([{ kind: 'ack', token: next?.token ?? '' }])).toEqual(['settled']);
    },
  );

  it('one that stands still, its connection with it, keeps what it holds', async () => {
    const { fixture, holder, other, held } = await holderAndOther(plain.name, {
      holder: { clock: createManualClock() },
      other: { times: { ...byConnection, stillMs: 200 } },
    });
    await other.looks.waitFor(1);
    await afterManyBeats(fixture, other);
    expect(other.got.values).toEqual([]);
    expect(await holder.consumer.settle([{ kind: 'ack', token: held.token }])).toEqual(['settled']);
  });

  it('a beat that stands still tells it where nobody looks at connections in time', async () => {
    const { holder, other } = await holderAndOther(plain.name, { other: { times: byBeat } });
    holder.vanish();
    expect((await other.got.waitFor(1))[0]).toMatchObject({ message: { id: 'held' }, abandoned: 1 });
  });

  it('where the server hides connections it says so, and a beat that stands still tells it alone', async () => {
    const { holder, other } = await holderAndOther(plain.name, {
      other: { denied: true, times: byBeatAlone },
    });
    expect(other.connection.capabilities.version).toMatch(/its connections hidden/);
    expect(holder.connection.capabilities.version).not.toMatch(/hidden/);
    holder.vanish();
    expect((await other.got.waitFor(1))[0]).toMatchObject({ message: { id: 'held' }, abandoned: 1 });
    expect(other.looks.values).toEqual([]);
  });

  it('control: where the server hides connections, the other two signs find nobody', async () => {
    const { fixture, holder, other } = await holderAndOther(plain.name, {
      other: { denied: true, times: { ...byConnection, stillMs: 200 } },
    });
    holder.vanish();
    await afterManyBeats(fixture, other);
    expect(other.got.values).toEqual([]);
  });

  it('nobody on record is left behind by one that leaves in order', async () => {
    const { fixture, holder, other } = await holderAndOther(plain.name, {});
    await holder.connection.close();
    await other.connection.close();
    expect(await connectionsOf(fixture)).toEqual([]);
    expect(await fixture.raw('ZCARD', `${fixture.prefix}:alive`)).toBe(0);
  });
});

async function proxied(): Promise<CutProxy> {
  const proxy = await cutProxyTo(url ?? '');
  closing.push(() => proxy.close());
  return proxy;
}

const connectionsOf = (fixture: RedisFixture): Promise<readonly string[]> =>
  fixture.raw('HVALS', `${fixture.prefix}:connections`) as Promise<readonly string[]>;
