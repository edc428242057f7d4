/** Which partition a message without a key goes to: one after the other, counted for each channel by itself, so that two that alternate both reach all of theirs. */
import type { KnownChannel } from './topology.ts';

export class PartitionTurns {
  readonly #next = new Map<string, number>();

  /** Channels that are counted. */
  get size(): number {
    return this.#next.size;
  }

  /** One partition needs no count: a service that answers meets a new reply topic with every process that asks. */
  of({ topics, partitions }: Pick<KnownChannel, 'topics' | 'partitions'>): number {
    if (partitions === 1) return 0;
    const name = topics[0] ?? '';
    const turn = this.#next.get(name) ?? 0;
    this.#next.set(name, turn + 1);
    return turn % partitions;
  }
}
