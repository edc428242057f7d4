/**
 * Whether the server still answers what it was asked on a connection. A machine that froze and a network that swallows everything keep the connection, and the client has no limit for
 * a command that it has sent: what is published would wait as long as the server stands still.
 *
 * Answers come in the order of the questions, so one look now and then is enough, and no command has a timer: two numbers are counted up, and while something is unanswered they are looked
 * at four times within the limit. When not one answer has come in four looks in a row, `onStill` is called: between the limit and a quarter more after the oldest was asked. A process that was
 * itself held up for so long has looked once, and reads what lies in its socket before it looks again.
 *
 * On a connection on which commands block the limit is theirs and the time that they block together: one that waits for news in vain is answered too.
 */
import type { CancelTimer, Clock } from '../clock.ts';

const LOOKS_WITHIN_LIMIT = 4;

export class AnswerWatch {
  readonly #clock: Clock;
  readonly #everyMs: number;
  readonly #onStill: () => void;
  #unanswered = 0;
  #answers = 0;
  #answersSeen = 0;
  /** Looks since the last answer. */
  #looks = 0;
  #cancel: CancelTimer | undefined;

  constructor(clock: Clock, limitMs: number, onStill: () => void) {
    this.#clock = clock;
    this.#everyMs = limitMs / LOOKS_WITHIN_LIMIT;
    this.#onStill = onStill;
  }

  asked(): void {
    this.#unanswered += 1;
    if (this.#cancel === undefined) this.#begin();
  }

  /** Whatever the answer: also that the connection broke. */
  answered(): void {
    this.#unanswered -= 1;
    this.#answers += 1;
  }

  /** Nothing is looked at any more. */
  end(): void {
    this.#cancel?.();
    this.#cancel = () => {};
  }

  #begin(): void {
    this.#answersSeen = this.#answers;
    this.#looks = 0;
    this.#plan();
  }

  #plan(): void {
    this.#cancel = this.#clock.setTimer(this.#everyMs, () => this.#look());
  }

  #look(): void {
    this.#cancel = undefined;
    if (this.#unanswered === 0) return;
    if (this.#answers !== this.#answersSeen) return this.#begin();
    this.#looks += 1;
    if (this.#looks < LOOKS_WITHIN_LIMIT) return this.#plan();
    this.#begin();
    this.#onStill();
  }
}
