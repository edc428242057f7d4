/** Counts for people, channel by channel; replies of other processes' askers are left out. */
import type { ChannelView, SubscriptionView } from '../../engine.ts';
import type { RedisClient } from '../../redis/client.ts';
import { subscriptionsOf } from './presence.ts';
import type { StreamScripts } from './scripts.ts';

type SubscriptionCounts = readonly [
  ready: number,
  delayed: number,
  waitingForKey: number,
  inFlight: number,
  oldestAgeMs: number,
  expired: number,
  consumers: number,
  groups: readonly (readonly [string, number])[],
];

const GROUPS_SHOWN = 100;

export async function viewChannels(
  client: RedisClient,
  scripts: StreamScripts,
  names: readonly string[],
): Promise<readonly ChannelView[]> {
  return Promise.all(
    names.toSorted().map(async (name) => {
      const subscriptions = (await subscriptionsOf(client, scripts.prefix, name)).toSorted();
      const args = subscriptions.flatMap((one) => [encodeURIComponent(one), one]);
      const [scheduled, counts] = (await scripts.run('inspect', [name, ...args])) as [
        number,
        readonly (SubscriptionCounts | null)[],
      ];
      const views = subscriptions.flatMap((one, index) => {
        const found = counts[index];
        return found ? [viewOf(one, found)] : [];
      });
      return { name, subscriptions: views, scheduled };
    }),
  );
}

function viewOf(name: string, counts: SubscriptionCounts): SubscriptionView {
  const [ready, delayed, waitingForKey, inFlight, oldestAgeMs, expired, consumers, groups] = counts;
  return {
    name,
    ready,
    delayed,
    waitingForKey,
    inFlight,
    oldestAgeMs: oldestAgeMs < 0 ? undefined : oldestAgeMs,
    deadLetters: groups
      .map(([group, count]) => ({ group, count }))
      .sort((a, b) => b.count - a.count || (a.group < b.group ? -1 : 1))
      .slice(0, GROUPS_SHOWN),
    expired,
    consumers,
  };
}
