/** What people decided about the messages of a page, for a reconciliation: pure once it is read. */
import type { Decision, DecisionLog } from './dead-letter-decisions.ts';

export class Decisions {
  /** Nothing published by then, ms since the epoch, is certain not to have been decided about without a note. */
  readonly since: number;
  readonly #decidedAt = new Map<string, Set<string>>();
  /** By channel and subscription. */
  readonly #skippedUntil = new Map<string, Map<string, number>>();
  readonly #replacements = new Set<string>();

  constructor(since: number, decisions: readonly Decision[] = []) {
    this.since = since;
    for (const one of decisions) {
      if (one.kind === 'skipped') this.#addSkipped(one);
      else this.#addDecided(one);
      if (one.replacedBy !== undefined) this.#replacements.add(one.replacedBy);
    }
  }

  #addSkipped({ channel, subscription, at }: Decision): void {
    const places = this.#skippedUntil.get(channel) ?? new Map<string, number>();
    this.#skippedUntil.set(channel, places.set(subscription, Math.max(at, places.get(subscription) ?? 0)));
  }

  #addDecided({ channel, subscription, messageId }: Decision): void {
    const name = messageOf(channel, messageId);
    const places = this.#decidedAt.get(name) ?? new Set();
    this.#decidedAt.set(name, places.add(subscription));
  }

  /** Subscriptions where a person discarded it, or put a corrected message in its place. */
  decidedAt(channel: string, messageId: string): ReadonlySet<string> {
    return this.#decidedAt.get(messageOf(channel, messageId)) ?? NOWHERE;
  }

  /** A rewind may have gone past what can have been published as early as that; in the very millisecond of the rewind, either may have been first. */
  mayBeSkipped(channel: string, subscription: string, publishedSince: number): boolean {
    const until = this.#skippedUntil.get(channel)?.get(subscription);
    return until !== undefined && publishedSince <= until;
  }

  /** Every subscription of which `mayBeSkipped` is true. */
  perhapsSkippedAt(channel: string, publishedSince: number): readonly string[] {
    return [...(this.#skippedUntil.get(channel) ?? [])].flatMap(([subscription, until]) =>
      publishedSince <= until ? [subscription] : [],
    );
  }

  isReplacement(messageId: string): boolean {
    return this.#replacements.has(messageId);
  }
}

const NOWHERE: ReadonlySet<string> = new Set();

function messageOf(channel: string, messageId: string): string {
  return JSON.stringify([channel, messageId]);
}

/** `assumeUndecided`: the caller vouches for what no log has. */
export async function decisionsAbout(
  logs: readonly DecisionLog[],
  messageIds: readonly string[],
  assumeUndecided: boolean,
): Promise<Decisions> {
  const known = messageIds.length === 0 ? [] : await Promise.all(logs.map((log) => log.about(messageIds)));
  if (assumeUndecided) return new Decisions(Number.NEGATIVE_INFINITY, known.flat());
  const since = await Promise.all(logs.map((log) => log.since()));
  const latest = since.reduce((last, one) => Math.max(last, one), Number.NEGATIVE_INFINITY);
  return new Decisions(logs.length === 0 ? Number.POSITIVE_INFINITY : latest, known.flat());
}
