/**
 * A member that hangs, and members with a name, as cases in the manner of the suite. The session of the latter is longer than a negative control waits: what comes back sooner came back by
 * the name. The others are watched by what they tell of their partitions, because a rebalance is what must not happen.
 */
import assert from 'node:assert/strict';
import { type Bus, createBus } from '../../bus.ts';
import { plain, sequenced } from '../../conformance/channels.ts';
import { startChild } from '../../conformance/child-process.ts';
import { Collector, type EngineFixture, eventually, numbers } from '../../conformance/fixture.ts';
import type { ConformanceCase } from '../../conformance/suite.ts';
import type { Message } from '../../message.ts';
import { ack } from '../../outcome.ts';
import { holderHangs } from '../../testing/hanging-process.ts';
import type { KafkaFixture } from './conformance-fixture.ts';
import type { KafkaEngineOptions, KafkaNotice } from './options.ts';

/** As short as the test broker allows. */
const SHORT = { sessionTimeoutMs: 500, heartbeatMs: 100 };
const LONG = { sessionTimeoutMs: 15_000, revokeGraceMs: 500 };
const childEntry = new URL('../../conformance/child.ts', import.meta.url);

interface Named {
  readonly bus: Bus;
  readonly got: Collector<Message>;
  readonly notices: KafkaNotice[];
}

function named(
  fixture: EngineFixture,
  memberName: string,
  {
    channel = plain,
    ...options
  }: Partial<KafkaEngineOptions> & { channel?: typeof plain | typeof sequenced } = {},
): Named {
  const notices: KafkaNotice[] = [];
  const got = new Collector<Message>();
  const engine = (fixture as KafkaFixture).engine({
    ...LONG,
    ...options,
    memberName,
    onNotice: (notice) => notices.push(notice),
  });
  const bus = createBus({ engine, source: `/${memberName}` });
  bus.declare([channel]);
  bus.subscribe(channel, {
    name: 'one',
    handler: (message) => {
      got.add(message);
      return ack();
    },
  });
  return { bus, got, notices };
}

const isDisplaced = (notice: KafkaNotice): boolean =>
  notice.kind === 'trouble' && notice.error.message.includes('goes by the name');

export const memberCases: readonly ConformanceCase[] = [
  {
    name: 'a process that hangs as a whole loses its partition with its session, and its late settlement counts for nothing',
    run(fixture) {
      const { engine, childArgument } = fixture as KafkaFixture;
      return holderHangs({ ...fixture, open: () => engine(SHORT) }, childArgument(SHORT));
    },
  },
  {
    name: 'a member that was killed and starts again by its name has its partitions at once, and nobody else notices',
    run: async (fixture) => {
      const { child, childArgument } = fixture as KafkaFixture;
      if (!child) throw new Error('this case needs a child process');
      const other = named(fixture, 'b', { partitions: 2 });
      await other.bus.start();
      const victim = startChild(childEntry, [
        child.module.href,
        childArgument({ ...LONG, memberName: 'a' }),
        'handle',
      ]);
      try {
        await victim.started;
        // Without keys they go to the partitions in turn.
        const more = () => other.bus.publishBatch(plain, [{ data: { n: 1 } }, { data: { n: 2 } }]);
        await eventually(more, () => victim.told.values.length > 0, 'the child at work');
        const [, id] = (await victim.line('handling')).split(' ');
        const before = other.notices.length;
        victim.send('SIGKILL');
        await victim.ended;
        const again = named(fixture, 'a');
        // Without its name it would stand before a group that waits for the killed one.
        const started = again.bus.start();
        try {
          await eventually(
            async () => again.got.values.map((message) => message.id),
            (ids) => ids.includes(id ?? ''),
            'what the killed one had at hand',
          );
          const moved = other.notices.slice(before).filter(({ kind }) => kind !== 'declared');
          assert.deepEqual(moved, []);
        } finally {
          await started;
          await again.bus.stop({ drainMs: 0 });
        }
      } finally {
        victim.send('SIGKILL');
        await other.bus.stop({ drainMs: 0 });
      }
    },
  },
  {
    name: 'a member with a name that stops in order gives its partitions up at once',
    run: async (fixture) => {
      // Longer than the patience of any case.
      const long = { partitions: 2, sessionTimeoutMs: 45_000 };
      const [stays, leaves] = [named(fixture, 'a', long), named(fixture, 'b', long)];
      const partitionsOf = ({ notices }: Named): readonly number[] => {
        const owned = new Set<number>();
        for (const notice of notices)
          if (notice.kind === 'assigned') for (const one of notice.partitions) owned.add(one);
          else if (notice.kind === 'revoked') for (const one of notice.partitions) owned.delete(one);
        return [...owned];
      };
      const has = (one: Named, count: number) =>
        eventually(
          async () => partitionsOf(one),
          (owned) => owned.length === count,
          `${count} partitions`,
        );
      await stays.bus.start();
      try {
        await leaves.bus.start();
        await has(leaves, 1);
        await has(stays, 1);
        await leaves.bus.stop({ drainMs: 0 });
        await has(stays, 2);
      } finally {
        await Promise.all([stays, leaves].map(({ bus }) => bus.stop({ drainMs: 0 })));
      }
    },
  },
  {
    name: 'of two processes by one name the later has the partitions; the earlier goes on without a name',
    run: async (fixture) => {
      const keyed = { channel: sequenced, partitions: 4 };
      const [earlier, later] = [named(fixture, 'a', keyed), named(fixture, 'a', keyed)];
      await earlier.bus.start();
      await later.bus.start();
      try {
        let count = 0;
        const more = () =>
          earlier.bus.publishBatch(
            sequenced,
            numbers(1, 20).map((n) => ({ data: { n: (count += 1) }, options: { key: `key-${n}` } })),
          );
        const at = (one: Named): number => one.got.values.length;
        await eventually(more, () => at(earlier) > 20 && at(later) > 20, 'both at work');
        const [had, has] = [at(earlier), at(later)];
        await eventually(more, () => at(earlier) > had + 200 && at(later) > has + 200, 'both still at work');
        await eventually(
          async () =>
            new Set(
              [...earlier.got.values, ...later.got.values].map(({ data }) => (data as { n: number }).n),
            ),
          (seen) => numbers(1, count).every((n) => seen.has(n)),
          'everything handled',
        );
        const told = [...earlier.notices, ...later.notices].filter(isDisplaced);
        // Once by whoever noticed, once on giving it up.
        assert.ok(told.length >= 1 && told.length <= 2, `told ${told.length} times`);
        assert.ok(!later.notices.some(isDisplaced));
      } finally {
        await Promise.all([earlier, later].map(({ bus }) => bus.stop({ drainMs: 0 })));
      }
    },
  },
];
