/** Looks at logs from outside any group: where they begin and end, and what is in them. For people, dead letters and the gate of an assignment. */
import type { Admin } from '@platformatic/kafka';
import { MessagingError } from '../../errors.ts';
import { faultOf } from './faults.ts';
import { fetchFrom } from './fetch.ts';
import type { Link } from './link.ts';
import type { LogRecord } from './log-record.ts';

const LATEST = -1n;
const EARLIEST = -2n;
const READ_COMMITTED = 1;
const ALL_BYTES = 4 * 2 ** 20;
const WAIT_MS = 100;
/** A log that does not come to its end: a transaction that was never ended, or a leader that moves. */
const VAIN_READS = 20;

export class Logs {
  readonly #admin: Admin;
  readonly #link: Link;

  constructor(admin: Admin, link: Link) {
    this.#admin = admin;
    this.#link = link;
  }

  /** Of each partition the offset behind its last committed record. Empty when there is no such topic. */
  ends(topic: string): Promise<readonly number[]> {
    return this.at(topic, LATEST);
  }

  /** Of each partition the oldest offset it still has. */
  starts(topic: string): Promise<readonly number[]> {
    return this.at(topic, EARLIEST);
  }

  /** Of each partition the first offset stamped at this time or later; its end when there is none. */
  async since(topic: string, timeMs: number): Promise<readonly number[]> {
    const [found, ends] = await Promise.all([
      this.at(topic, BigInt(Math.max(0, Math.floor(timeMs)))),
      this.ends(topic),
    ]);
    return found.map((offset, partition) => (offset < 0 ? (ends[partition] ?? 0) : offset));
  }

  async at(topic: string, timestamp: bigint): Promise<readonly number[]> {
    const known = (await this.#link.topics([topic])).get(topic);
    if (!known) return [];
    const partitions = known.partitions.map((_, partitionIndex) => ({ partitionIndex, timestamp }));
    try {
      const [listed] = await this.#admin.listOffsets({
        topics: [{ name: topic, partitions }],
        isolationLevel: READ_COMMITTED,
      });
      const offsets: number[] = partitions.map(() => 0);
      for (const { partitionIndex, offset } of listed?.partitions ?? [])
        offsets[partitionIndex] = Number(offset);
      return offsets;
    } catch (error) {
      throw faultOf(error, `looking at ${topic}`);
    }
  }

  /** Visits the records from `from` up to `to`, so many bytes at a time and at least a batch; `visit` ends it by returning false. */
  async read(
    topic: string,
    partition: number,
    from: number,
    to: number,
    visit: (records: readonly LogRecord[], next: number) => unknown,
    maxBytes = ALL_BYTES,
  ): Promise<void> {
    let offset = from;
    for (let vain = 0; offset < to; ) {
      const node = await this.#link.leaderOf(topic, partition, vain > 0);
      const [fetched] = await fetchFrom(this.#link, node, [{ topic, partition, offset }], {
        maxWaitMs: WAIT_MS,
        maxBytes,
      });
      if (!fetched) return;
      const next = fetched.fault === 'outOfRange' ? Math.max(fetched.start, offset) : fetched.next;
      if (visit(fetched.records, next) === false) return;
      if (fetched.fault === 'outOfRange' && next <= offset) return;
      vain = next > offset ? 0 : vain + 1;
      // Who asks draws conclusions from what is there (which keys wait behind a dead letter), so a part is not given for the whole.
      if (vain >= VAIN_READS)
        throw new MessagingError(
          'DB_MSG_ENGINE_UNREACHABLE',
          `${topic} [${partition}] gives nothing from ${next} on`,
        );
      offset = next;
    }
  }
}
