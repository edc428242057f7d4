/**
 * Discarding dead letters with a note of each before it is done (`dead-letter-decisions.ts`). What is to be noted has to be known, so a store is asked for three things: which letters
 * there are, how many beside those, and to discard some. Any of them may cost a look at every letter there is (a queue of RabbitMQ), so only the last is asked in each step.
 *
 *   no lot --list, count--> lot --note and discard some--> lot, or none when it is worked off
 *   lot --somebody else took of them--> listed anew
 *
 * A letter that somebody else redrives after it was listed is noted as discarded though nobody did. No store says which of the letters it was asked for it discarded, so the note stays; but
 * a lot is believed only until a step finds less than it lists, so that it is those of one step and not of a lot.
 */
import type { DecisionLog } from './dead-letter-decisions.ts';
import type { DeadLetterMove } from './dead-letter-desk.ts';
import type { DeadLetterFilter, DeadLetterRecord, DeadLetterStore } from './engine.ts';

export interface DiscardStep extends DeadLetterMove {
  /** All of the step were taken by somebody else, and are gone: what remains is something else. */
  readonly goesOn: boolean;
}

type Listed = Pick<DeadLetterRecord, 'id' | 'channel' | 'subscription' | 'messageId'>;

/** Letters of the first list. The next one has twice as many while they are small: all of a list are in memory, and an answer to a guest of an embedded engine has a largest size. */
const FIRST_LOT = 200;
const LARGEST_LOT = 2_000;
/** Characters of the messages in a lot after which the next one is not larger. */
const SMALL_LOT = 8 * 2 ** 20;

export class NotedDiscard {
  readonly #store: DeadLetterStore;
  readonly #log: DecisionLog;
  readonly #filter: DeadLetterFilter;
  #lotSize = FIRST_LOT;
  /** What was listed and is not discarded yet. */
  #lot: readonly Listed[] = [];
  /** What there was beside them. */
  #beyond = 0;

  constructor(store: DeadLetterStore, log: DecisionLog, filter: DeadLetterFilter) {
    this.#store = store;
    this.#log = log;
    this.#filter = filter;
  }

  /** As `DeadLetterStore.discard`. `left`: so many may be discarded by this step and those to come; the notes are of `now`, ms since the epoch. */
  async step(limit: number, left: number, now: number): Promise<DiscardStep> {
    if (this.#lot.length === 0) await this.#list(left);
    const letters = this.#lot.slice(0, limit);
    this.#lot = this.#lot.slice(limit);
    await this.#note(letters, now);
    const moved = await this.#discard(letters);
    if (moved < letters.length) await this.#list(left - moved);
    const ids = new Set(letters.map(({ id }) => id));
    return {
      moved,
      remaining: this.#lot.length + this.#beyond,
      goesOn: moved === 0 && letters.length > 0 && !this.#lot.some(({ id }) => ids.has(id)),
    };
  }

  async #list(left: number): Promise<void> {
    const limit = Math.min(this.#lotSize, left);
    const letters = limit === 0 ? [] : await this.#store.list(this.#filter, { limit });
    // Counted after the list: those that come between the two are parked too late for the filter, and what goes between them makes a step find less.
    const count = letters.length < limit ? letters.length : await this.#count();
    this.#beyond = Math.max(0, count - letters.length);
    const size = letters.reduce((sum, { raw }) => sum + raw.length, 0);
    if (size <= SMALL_LOT) this.#lotSize = Math.min(2 * this.#lotSize, LARGEST_LOT);
    this.#lot = [...Map.groupBy(letters, placeOf).values()].flat().map(listedOf);
  }

  async #count(): Promise<number> {
    return (await this.#store.discard(this.#filter, 0)).remaining;
  }

  #note(letters: readonly Listed[], now: number): Promise<void> {
    return this.#log.note(
      letters
        .filter(({ messageId }) => messageId !== '')
        .map(({ channel, subscription, messageId }) => ({
          kind: 'discarded',
          channel,
          subscription,
          messageId,
          replacedBy: undefined,
          at: now,
        })),
    );
  }

  /** Place by place: a message may be a letter in another subscription too, which is not among these. */
  async #discard(letters: readonly Listed[]): Promise<number> {
    let moved = 0;
    for (const those of Map.groupBy(letters, placeOf).values()) {
      const { channel, subscription } = those[0] as Listed;
      const messageIds = [...new Set(those.map(({ messageId }) => messageId))];
      const meant = { ...this.#filter, channel, subscription, messageIds };
      moved += (await this.#store.discard(meant, those.length)).moved;
    }
    return moved;
  }
}

function placeOf({ channel, subscription }: Listed): string {
  return JSON.stringify([channel, subscription]);
}

function listedOf({ id, channel, subscription, messageId }: DeadLetterRecord): Listed {
  return { id, channel, subscription, messageId };
}
