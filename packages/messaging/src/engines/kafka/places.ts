/**
 * Where a subscription stands, seen from outside its group: who is in it, and every log it reads with what is settled there. What the group committed is
 * the truth for everybody; of the partitions this process owns it knows more, and says it.
 */
import type { Admin } from '@platformatic/kafka';
import { faultOf } from './faults.ts';
import { Ledger } from './ledger.ts';
import type { Link } from './link.ts';
import type { Logs } from './logs.ts';
import type { Names } from './names.ts';
import type { Reader } from './reader.ts';
import { committedOf } from './takeover.ts';
import type { KnownChannel } from './topology.ts';

export interface PlaceParts {
  readonly link: Link;
  readonly logs: Logs;
  readonly names: Names;
  readonly readerOf: (channel: string, subscription: string) => Reader | undefined;
}

export interface Place {
  readonly topic: string;
  readonly partition: number;
  readonly isLater: boolean;
  readonly ledger: Ledger;
  readonly start: number;
  readonly end: number;
}

/** Every log of the subscription with what is settled in it: of owned partitions as it is now, of others as committed. */
export async function placesOf(
  { link, logs, names, readerOf }: PlaceParts,
  known: KnownChannel,
  subscription: string,
): Promise<readonly Place[]> {
  const { spec, partitions, topics } = known;
  const later = spec.ephemeral ? [] : [names.later(spec.name, subscription)];
  const all = [...topics, ...later];
  const indexes = Array.from({ length: partitions }, (_, index) => index);
  const [committed, starts, ends] = await Promise.all([
    committedOf(link, names.group(spec.name, subscription), new Map(all.map((topic) => [topic, indexes]))),
    Promise.all(all.map((topic) => logs.starts(topic))),
    Promise.all(all.map((topic) => logs.ends(topic))),
  ]);
  const sources = readerOf(spec.name, subscription)
    ?.view()
    .partitions.flatMap((partition) => partition.sources);
  return all.flatMap((topic, at) =>
    indexes.map((partition) => {
      const own = sources?.find((source) => source.topic === topic && source.partition === partition);
      const text = committed.get(`${topic}/${partition}`);
      const start = starts[at]?.[partition] ?? 0;
      const ledger =
        own?.ledger ?? (text ? Ledger.decode(text.watermark, text.text).ledger : new Ledger(start));
      return {
        topic,
        partition,
        isLater: later.includes(topic),
        ledger,
        start,
        end: ends[at]?.[partition] ?? 0,
      };
    }),
  );
}

/** How many are in the group; none when there is no such group. */
export async function membersOf(admin: Admin, group: string): Promise<number> {
  try {
    return (await admin.describeGroups({ groups: [group] })).get(group)?.members.size ?? 0;
  } catch (error) {
    throw faultOf(error, `asking who is in ${group}`);
  }
}
