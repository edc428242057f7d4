/**
 * Rows that were read between two turns: what the next one will probably hand out. While its messages are handled the writer would wait, and so would they while it reads; and
 * what was read ahead can be on its way to the other thread, and be read there as messages, before anybody asks for it.
 *
 * Nothing is decided by it. A row that was read ahead is claimed in its turn like any other, or it is not claimed. It is what the table says, because it was committed when it was
 * read, and a row of a log never changes. As soon as its cursor stands elsewhere (a rewind, an undone turn) it is of no use any more. Each is given
 * out once, so that no two hand-outs share what was read of it.
 *
 * One batch for one cursor: where several subscriptions are busy, the writer has something to do while the messages of one are handled.
 */
import type { Cursor } from './state.ts';
import type { Statements } from './statements.ts';
import type { LogRow } from './subscription.ts';
import type { HandOut } from './turn.ts';

/** A smaller hand-out is not worth a message of its own between the threads. */
const LEAST_ROWS = 64;
/** So much of large messages is memory enough for what nobody has asked for yet. */
const MOST_CHARACTERS = 2 ** 20;
/** So often others want it before a batch that nobody takes from makes room. */
const WISHES_REFUSED = 8;

export class ReadAhead {
  #wish: { readonly cursor: Cursor; readonly rows: number } | undefined;
  #cursor: Cursor | undefined;
  #rows: readonly LogRow[] = [];
  #next = 0;
  #refused = 0;

  /** A turn claimed these here, and there is more: as many again may be wanted next. */
  wish(cursor: Cursor, claimed: readonly HandOut[]): void {
    if (claimed.length < LEAST_ROWS || (this.#wish && this.#cursor !== cursor)) return;
    let characters = 0;
    for (const { body } of claimed) characters += body.length;
    if (characters <= MOST_CHARACTERS) this.#wish = { cursor, rows: claimed.length };
  }

  /** What a turn wished is not so: it was undone. */
  unwish(): void {
    this.#wish = undefined;
  }

  /** Between turns. The new batch, where there is one; the one before is gone then. */
  read({ readMessages }: Statements): readonly LogRow[] | undefined {
    const wish = this.#wish;
    this.#wish = undefined;
    if (!wish || this.#keepsBatch()) return undefined;
    const { cursor, rows } = wish;
    this.#rows = readMessages.all(cursor.next, cursor.log.head, rows) as unknown as LogRow[];
    this.#cursor = cursor;
    this.#next = 0;
    this.#refused = 0;
    return this.#rows;
  }

  #keepsBatch(): boolean {
    if (!this.#cursor || !this.has(this.#cursor)) return false;
    this.#refused += 1;
    return this.#refused <= WISHES_REFUSED;
  }

  /** Whether the row at which this cursor stands was read ahead. */
  has(cursor: Cursor): boolean {
    return cursor === this.#cursor && this.#rows[this.#next]?.[0] === cursor.next;
  }

  /** Place in its batch of the row that is taken next. */
  get place(): number {
    return this.#next;
  }

  /** At most so many, for a cursor that has some. */
  take(limit: number): readonly LogRow[] {
    const from = this.#next;
    this.#next = Math.min(from + limit, this.#rows.length);
    this.#refused = 0;
    return this.#rows.slice(from, this.#next);
  }
}
