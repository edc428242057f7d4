/**
 * What a new owner of partitions has to know before it begins: how far the subscription has come, what was out at the former owner, and where the
 * logs end that have to be read first (retries and dead letters that hold a key, higher priorities).
 */
import type { Admin } from '@platformatic/kafka';
import type { ChannelSpec } from '../../engine.ts';
import type { DeadBook } from './dead-book.ts';
import { faultOf } from './faults.ts';
import { Ledger } from './ledger.ts';
import type { Link } from './link.ts';
import type { Logs } from './logs.ts';
import type { KafkaNotice } from './options.ts';
import { type LogSource, Partition } from './partition.ts';
import type { CommittedAnswer } from './protocol.ts';

export interface TakeoverParts {
  readonly link: Link;
  readonly logs: Logs;
  readonly admin: Admin;
  readonly spec: ChannelSpec;
  readonly group: string;
  readonly topics: readonly string[];
  readonly later: string | undefined;
  readonly book: DeadBook | undefined;
  readonly subscription: string;
  readonly onNotice: (notice: KafkaNotice) => void;
}

export interface Committed {
  readonly watermark: number;
  readonly text: string;
}

interface LogBounds {
  readonly topic: string;
  readonly partition: number;
  readonly start: number;
  readonly end: number;
}

type FetchGroup = {
  readonly groupId: string;
  readonly memberId: null;
  readonly memberEpoch: number;
  readonly topics: { readonly name: string; readonly partitionIndexes: number[] }[];
};

/** What a group has committed, by `topic/partition`; what it never committed is missing. */
export async function committedOf(
  link: Link,
  group: string,
  topics: ReadonlyMap<string, readonly number[]>,
): Promise<ReadonlyMap<string, Committed>> {
  const asked = [...topics].map(([name, partitions]) => ({ name, partitionIndexes: [...partitions] }));
  const found = new Map<string, Committed>();
  try {
    const { groups } = await link.atCoordinator<[FetchGroup[], boolean], CommittedAnswer>(
      group,
      'OffsetFetch',
      [{ groupId: group, memberId: null, memberEpoch: -1, topics: asked }],
      true,
    );
    for (const { name, partitions } of groups[0]?.topics ?? [])
      for (const { partitionIndex, committedOffset, metadata } of partitions)
        if (committedOffset >= 0n)
          found.set(`${name}/${partitionIndex}`, {
            watermark: Number(committedOffset),
            text: metadata ?? '',
          });
    return found;
  } catch (error) {
    throw faultOf(error, `asking how far ${group} has come`);
  }
}

export class Takeover {
  readonly #parts: TakeoverParts;
  /** Places whose log was seen to end too early, for the taking that follows. */
  readonly #told = new Set<string>();

  constructor(parts: TakeoverParts) {
    this.#parts = parts;
  }

  async take(indexes: readonly number[], holder: string, readAhead: number): Promise<readonly Partition[]> {
    if (indexes.length === 0) return [];
    const { topics, later, book, spec, link, logs, group } = this.#parts;
    const logsOf = [...topics, ...(later === undefined ? [] : [later])];
    const [committed, members, starts, ends, deadEnds] = await Promise.all([
      committedOf(link, group, new Map(logsOf.map((topic) => [topic, indexes]))),
      this.#members(),
      Promise.all(logsOf.map((topic) => logs.starts(topic))),
      Promise.all(logsOf.map((topic) => logs.ends(topic))),
      book ? logs.ends(book.topic) : Promise.resolve([]),
    ]);
    const taken = indexes.map((index) => {
      const partition = new Partition({ index, spec, book, readAhead });
      for (const [at, topic] of logsOf.entries()) {
        const end = ends[at]?.[index] ?? 0;
        const ledger = this.#ledgerOf(
          { topic, partition: index, start: starts[at]?.[index] ?? 0, end },
          committed.get(`${topic}/${index}`),
          (former) => former !== holder && !members.has(former),
        );
        const isLater = topic === later;
        partition.addSource({
          kind: isLater ? 'later' : 'main',
          level: isLater ? 0 : at,
          topic,
          ledger,
          // Of the lowest priority nothing has to be known first, nor of copies that hold no key.
          gate: isLater ? (partition.holds ? end : 0) : at > 0 ? end : 0,
        });
      }
      if (book && partition.holds)
        partition.addSource({
          kind: 'dead',
          level: 0,
          topic: book.topic,
          ledger: new Ledger(book.positionOf(index)),
          gate: deadEnds[index] ?? 0,
        });
      return partition;
    });
    this.#told.clear();
    return taken;
  }

  /**
   * The broker has nothing where this log is read on. Skips what is gone, and says so; true when the log ends before that place, so that the partition
   * has to be taken anew.
   */
  async outOfRange({ topic, partition, ledger }: LogSource): Promise<boolean> {
    const { logs } = this.#parts;
    const [starts, ends] = await Promise.all([logs.starts(topic), logs.ends(topic)]);
    const place = { topic, partition, start: starts[partition] ?? 0 };
    if (place.start > ledger.position) this.#lose(place, ledger);
    const isShort = ledger.position > (ends[partition] ?? 0);
    if (isShort) {
      this.#tell('truncated', place, ledger.position, 0);
      this.#told.add(`${topic}/${partition}`);
    }
    return isShort;
  }

  #ledgerOf(place: LogBounds, committed: Committed | undefined, isGone: (holder: string) => boolean): Ledger {
    const { start, end } = place;
    if (!committed) return new Ledger(start);
    const { watermark } = committed;
    if (watermark > end) {
      // The reader that has seen it takes the partition anew: it is told once.
      if (!this.#told.has(`${place.topic}/${place.partition}`)) this.#tell('truncated', place, watermark, 0);
      return new Ledger(start);
    }
    const { ledger, holder } = Ledger.decode(watermark, committed.text);
    ledger.takeOver(isGone(holder));
    if (start > ledger.position) this.#lose(place, ledger);
    return ledger;
  }

  #lose(place: Omit<LogBounds, 'end'>, ledger: Ledger): void {
    const from = ledger.position;
    this.#tell('gap', place, from, ledger.lose(place.start));
  }

  #tell(
    kind: 'gap' | 'truncated',
    { topic, partition, start }: Omit<LogBounds, 'end'>,
    from: number,
    lost: number,
  ): void {
    const { spec, subscription, onNotice } = this.#parts;
    onNotice({ kind, channel: spec.name, subscription, topic, partition, from, to: start, lost });
  }

  /** The id of the member that goes by this name; undefined when none does. */
  async holderOf(name: string): Promise<string | undefined> {
    for (const [id, known] of await this.#members()) if (known === name) return id;
    return undefined;
  }

  /** Who is in the group now, by member id, and the name each goes by. */
  async #members(): Promise<ReadonlyMap<string, string | null>> {
    const { admin, group } = this.#parts;
    try {
      const members = (await admin.describeGroups({ groups: [group] })).get(group)?.members ?? new Map();
      return new Map([...members].map(([id, { groupInstanceId }]) => [id, groupInstanceId ?? null]));
    } catch (error) {
      throw faultOf(error, `asking who is in ${group}`);
    }
  }
}
