/** What people decided about the messages of a page, for a reconciliation: pure once it is read. */
import type { Decision, DecisionLog } from './dead-letter-decisions.ts';
import { placeOf } from './reconciliation-engine.ts';

export class Decisions {
  /** Nothing published before, ms since the epoch, is certain not to have been decided about without a note. */
  readonly since: number;
  readonly #byMessage = new Map<string, Decision>();
  readonly #skippedBefore = new Map<string, number>();
  readonly #replacements = new Set<string>();

  constructor(since: number, decisions: readonly Decision[] = []) {
    this.since = since;
    for (const one of decisions) {
      const place = placeOf(one.channel, one.subscription);
      if (one.kind === 'skipped')
        this.#skippedBefore.set(place, Math.max(one.at, this.#skippedBefore.get(place) ?? 0));
      else this.#byMessage.set(`${place} ${one.messageId}`, one);
      if (one.replacedBy !== undefined) this.#replacements.add(one.replacedBy);
    }
  }

  /** A person discarded it there, or put a corrected message in its place. */
  isDecided(channel: string, subscription: string, messageId: string): boolean {
    return this.#byMessage.has(`${placeOf(channel, subscription)} ${messageId}`);
  }

  /** A rewind may have gone past what was published by then. */
  mayBeSkipped(channel: string, subscription: string, publishedAt: number): boolean {
    return publishedAt < (this.#skippedBefore.get(placeOf(channel, subscription)) ?? 0);
  }

  isReplacement(messageId: string): boolean {
    return this.#replacements.has(messageId);
  }
}

/** `assumeUndecided`: the caller vouches for what no log has. */
export async function decisionsAbout(
  logs: readonly DecisionLog[],
  messageIds: readonly string[],
  assumeUndecided: boolean,
): Promise<Decisions> {
  const known = messageIds.length === 0 ? [] : await Promise.all(logs.map((log) => log.about(messageIds)));
  if (assumeUndecided) return new Decisions(0, known.flat());
  const since = await Promise.all(logs.map((log) => log.since()));
  const latest = since.reduce((last, one) => Math.max(last, one), Number.NEGATIVE_INFINITY);
  return new Decisions(logs.length === 0 ? Number.POSITIVE_INFINITY : latest, known.flat());
}
