/**
 * Writes ledgers to the group, one commit at a time; what comes meanwhile goes with the next one. It tries until the broker takes it or the
 * partition belongs to somebody else: only then is a settlement known to be lost.
 */
import { type Clock, pause } from '../../clock.ts';
import { MessagingError } from '../../errors.ts';
import type { LedgerText } from './ledger.ts';
import type { Link } from './link.ts';
import { type Identity, isGone, type Membership } from './membership.ts';
import type { LogSource } from './partition.ts';

export interface CommitsParts {
  readonly link: Link;
  readonly clock: Clock;
  readonly group: string;
  readonly membership: Membership;
  /** How many hand-outs of a partition are written down before they happen. */
  readonly ahead: () => number;
  readonly onTrouble: (error: Error) => void;
}

interface CommitTopic {
  readonly name: string;
  readonly partitions: {
    readonly partitionIndex: number;
    readonly committedOffset: bigint;
    readonly committedLeaderEpoch: number;
    readonly committedMetadata: string;
  }[];
}

type Arguments = [string, number, string, string | null, CommitTopic[]];

const AGAIN_MS = 50;

export class Commits {
  readonly #parts: CommitsParts;
  readonly #dirty = new Set<LogSource>();
  readonly #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  constructor(parts: CommitsParts) {
    this.#parts = parts;
  }

  mark(source: LogSource): void {
    this.#dirty.add(source);
  }

  /** Resolves when everything marked before is committed, or no longer ours. */
  flush(): Promise<void> {
    if (this.#next) return this.#next;
    const mine = this.#running
      .catch(() => {})
      .then(() => {
        this.#running = mine;
        this.#next = undefined;
        return this.#commit();
      });
    mine.catch(() => {});
    this.#next = mine;
    return mine;
  }

  /** No more attempts after one that fails. */
  stop(): void {
    this.#stopping.abort();
  }

  async #commit(): Promise<void> {
    for (;;) {
      const sources = [...this.#dirty].filter(({ owner }) => owner.alive);
      this.#dirty.clear();
      if (sources.length === 0) return;
      const { identity } = this.#parts.membership;
      try {
        if (identity) return await this.#send(identity, sources);
      } catch (error) {
        this.#parts.onTrouble(error as Error);
        if (isGone(error)) this.#parts.membership.renew();
      }
      for (const source of sources) this.#dirty.add(source);
      if (this.#stopping.signal.aborted)
        throw new MessagingError('DB_MSG_ENGINE_UNREACHABLE', 'what was settled could not be committed');
      await pause(this.#parts.clock, AGAIN_MS, this.#stopping.signal);
    }
  }

  async #send({ memberId, generation, name }: Identity, sources: readonly LogSource[]): Promise<void> {
    const { link, group } = this.#parts;
    const ahead = this.#stopping.signal.aborted ? 0 : this.#parts.ahead();
    const topics = new Map<string, CommitTopic>();
    const texts = sources.map(({ ledger }) => ledger.encode(memberId, ahead));
    for (const [index, { topic, partition }] of sources.entries()) {
      const entry = topics.get(topic) ?? { name: topic, partitions: [] };
      topics.set(topic, entry);
      const { watermark, text } = texts[index] as LedgerText;
      entry.partitions.push({
        partitionIndex: partition,
        committedOffset: BigInt(watermark),
        committedLeaderEpoch: -1,
        committedMetadata: text,
      });
    }
    await link.atCoordinator<Arguments, unknown>(group, 'OffsetCommit', group, generation, memberId, name, [
      ...topics.values(),
    ]);
    for (const [index, { ledger }] of sources.entries()) ledger.confirm((texts[index] as LedgerText).marks);
  }
}
