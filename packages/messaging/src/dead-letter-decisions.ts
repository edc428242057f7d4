/**
 * What people decided about dead letters, kept where a reconciliation can read it: a discarded letter, one that a corrected message replaced and what a rewind skipped are
 * settled nowhere, wait nowhere and are no dead letters any more, exactly as if the engine had lost them.
 *
 * A decision is noted before it is done. A crash in between leaves a note of what is still a dead letter, which a reconciliation finds first; the other way around
 * it would leave a decision that a repair undoes. How discards are noted in steps: `noted-discard.ts`.
 */
import type { EngineConnection, ReplayPoint, SubscriptionName } from './engine.ts';

export interface Decision {
  /** `replaced`: by the corrected message `replacedBy`. `skipped`: a rewind went past what was published by `at`, whatever it was. */
  readonly kind: 'discarded' | 'replaced' | 'skipped';
  readonly channel: string;
  readonly subscription: string;
  /** Empty for `skipped`. */
  readonly messageId: string;
  readonly replacedBy: string | undefined;
  /** ms since the epoch. */
  readonly at: number;
}

/** Kept in SQL by `createSqlDecisions`. */
export interface DecisionLog {
  /** Noted for good when it resolves. The same decision may be noted twice. */
  note(decisions: readonly Decision[]): Promise<void>;
  /** What was decided about these messages, or made one of them, and the latest of what was skipped in each subscription. */
  about(messageIds: readonly string[]): Promise<readonly Decision[]>;
  /** Decisions are noted from this time on, ms since the epoch; what was published before may have been decided about without a note. */
  since(): Promise<number>;
  /** Lets go of the database where the log opened it: for tools that are given a log for one command. A bus does not call it. */
  close?(): Promise<void>;
}

/** The clocks of producers, brokers and of whoever rewinds differ a little, and what comes while the note is written is skipped too. */
const SKIP_MARGIN_MS = 5_000;

/** As `EngineConnection.rewind`; what it may go past is noted when the engine would do it, and before it does. */
export async function rewindNoted(
  connection: Pick<EngineConnection, 'rewind'>,
  log: DecisionLog | undefined,
  place: SubscriptionName,
  from: ReplayPoint,
  now: number,
): Promise<void> {
  if (!log || from === 'earliest') return connection.rewind(place, from);
  await connection.rewind(place, from, { dryRun: true });
  // No engine tells the time of an offset, nor of its latest message: all that was published by now may lie before it.
  const at = SKIP_MARGIN_MS + (typeof from === 'object' && 'timeMs' in from ? from.timeMs : now);
  const { channel, name: subscription } = place;
  await log.note([{ kind: 'skipped', channel, subscription, messageId: '', replacedBy: undefined, at }]);
  await connection.rewind(place, from);
}
