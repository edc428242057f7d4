/**
 * Deletes from the brokers what nobody needs any more: of a channel what every subscription has settled and, with `keepMs`, what is older than that;
 * of a subscription's own log what it has settled. A channel without subscriptions keeps everything.
 */
import type { Admin } from '@platformatic/kafka';
import type { CancelTimer, Clock } from '../../clock.ts';
import type { Link } from './link.ts';
import type { Logs } from './logs.ts';
import type { Names } from './names.ts';
import type { KafkaSettings } from './options.ts';
import { committedOf } from './takeover.ts';
import type { KnownChannel, TopologyBook } from './topology.ts';

export interface TrimParts {
  readonly settings: KafkaSettings;
  readonly clock: Clock;
  readonly link: Link;
  readonly logs: Logs;
  readonly admin: Admin;
  readonly names: Names;
  readonly book: TopologyBook;
}

/** How far each subscription has come in a log: the slowest one counts. */
export class Needs {
  readonly #watermarks = new Map<string, number[]>();

  add(place: string, watermark: number): void {
    const known = this.#watermarks.get(place);
    if (known) known.push(watermark);
    else this.#watermarks.set(place, [watermark]);
  }

  of(place: string): readonly number[] {
    return this.#watermarks.get(place) ?? [];
  }

  /** Nobody needs what is before; nothing may go where nobody said. */
  freeBefore(place: string): number {
    const all = this.of(place);
    return all.length === 0 ? 0 : all.reduce((a, b) => Math.min(a, b));
  }
}

export class Trimmer {
  readonly #parts: TrimParts;
  #cancel: CancelTimer = () => {};
  #stopped = false;

  constructor(parts: TrimParts) {
    this.#parts = parts;
  }

  start(): void {
    const { settings, clock } = this.#parts;
    if (settings.trimEveryMs === 0) return;
    this.#cancel = clock.setTimer(settings.trimEveryMs, () => {
      void this.trim()
        .catch((error: unknown) =>
          settings.onNotice({ kind: 'trouble', during: 'trimming', error: error as Error }),
        )
        .finally(() => {
          if (!this.#stopped) this.start();
        });
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  async trim(): Promise<void> {
    const { book, names, settings } = this.#parts;
    const all = await book.allTopics();
    for (const known of book.channels.values()) {
      if (this.#stopped) return;
      if (known.spec.ephemeral || settings.isCompacted(known.spec.name)) continue;
      // Also those that only other processes know.
      await this.#trimChannel(known, names.subscriptionsIn(all, known.spec.name));
    }
  }

  async #trimChannel(known: KnownChannel, subscriptions: readonly string[]): Promise<void> {
    const { link, names } = this.#parts;
    if (subscriptions.length === 0) return;
    const indexes = Array.from({ length: known.partitions }, (_, index) => index);
    const needs = new Needs();
    for (const name of subscriptions) {
      const later = names.later(known.spec.name, name);
      const topics = [...known.topics, later];
      const committed = await committedOf(
        link,
        names.group(known.spec.name, name),
        new Map(topics.map((topic) => [topic, indexes])),
      );
      for (const topic of topics)
        for (const index of indexes) {
          const place = `${topic}/${index}`;
          // A subscription that has committed nothing needs everything.
          needs.add(place, committed.get(place)?.watermark ?? 0);
        }
      await this.#delete(
        later,
        indexes.map((index) => needs.freeBefore(`${later}/${index}`)),
      );
    }
    for (const topic of known.topics) {
      const kept = await this.#keptSince(known, topic);
      await this.#delete(
        topic,
        indexes.map((index) =>
          Math.min(needs.freeBefore(`${topic}/${index}`), kept[index] ?? Number.POSITIVE_INFINITY),
        ),
      );
    }
  }

  async #keptSince({ spec }: KnownChannel, topic: string): Promise<readonly number[]> {
    const { logs, clock } = this.#parts;
    return spec.keepMs === undefined ? [] : logs.since(topic, clock.now() - spec.keepMs);
  }

  async #delete(topic: string, before: readonly number[]): Promise<void> {
    const { logs, admin, settings } = this.#parts;
    const starts = await logs.starts(topic);
    const partitions = before.flatMap((offset, partition) =>
      offset > (starts[partition] ?? 0) ? [{ partition, offset: BigInt(offset) }] : [],
    );
    if (partitions.length === 0) return;
    await admin.deleteRecords({ topics: [{ name: topic, partitions }] });
    for (const { partition, offset } of partitions)
      settings.onNotice({ kind: 'trimmed', topic, partition, before: Number(offset) });
  }
}
