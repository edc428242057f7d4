/** Counts for people. A list knows no times, so the oldest age is what the oldest message says of itself. */
import type { Clock } from '../../clock.ts';
import type { ChannelView } from '../../engine.ts';
import type { ListReader } from './list-reader.ts';
import type { ListsScripts } from './scripts.ts';

export type InspectReply = readonly [
  ready: number,
  delayed: number,
  inFlight: number,
  expired: number,
  consumers: number,
  subscription: string,
  groups: readonly (readonly [string, number])[],
  oldest: string,
];

export interface ViewParts {
  readonly scripts: ListsScripts;
  readonly reader: ListReader;
  readonly clock: Clock;
}

export function viewChannels(parts: ViewParts, names: readonly string[]): Promise<readonly ChannelView[]> {
  return Promise.all(names.toSorted().map((name) => viewOf(parts, name)));
}

async function viewOf({ scripts, reader, clock }: ViewParts, name: string): Promise<ChannelView> {
  const [ready, delayed, inFlight, expired, consumers, subscription, groups, oldest] = (await scripts.run(
    'listsInspect',
    [name],
  )) as InspectReply;
  // Nothing is ever scheduled: a list has no delay for what is published.
  if (subscription === '') return { name, subscriptions: [], scheduled: 0 };
  const time = Date.parse(reader.tryRead(name, oldest, 0)?.time ?? '');
  const view = {
    name: subscription,
    ready,
    delayed,
    waitingForKey: 0,
    inFlight,
    oldestAgeMs: Number.isNaN(time) ? undefined : Math.max(0, clock.now() - time),
    deadLetters: groups
      .map(([group, count]) => ({ group, count }))
      .sort((a, b) => b.count - a.count || (a.group < b.group ? -1 : 1)),
    expired,
    consumers,
    // Only what the first one in the list says of itself: one behind it, one that is out or one that was given back may say that it is older.
    ...(ready + delayed + inFlight > 0 && { partial: ['oldestAgeMs'] as const }),
  };
  return { name, subscriptions: [view], scheduled: 0 };
}
