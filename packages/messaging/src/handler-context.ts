/** What a handler is told beside the message. */
import type { Attempt } from './attempts-on-hand.ts';
import { type Publish, publishCausedBy } from './causation.ts';
import type { Message } from './message.ts';

/** What a handler may know about the attempt it is part of. */
export interface HandlerContext {
  /** 1 for the first. Numbers tries, not failures: a hand-out that ended without an outcome (a killed process) was one, perhaps before the handler had begun. */
  readonly attempt: number;
  /** Aborted when the lease was lost (another will handle the message) or the drain time is over. */
  readonly signal: AbortSignal;
  /** Set when a person redrove this message. */
  readonly redrive: { readonly deadLetterId: string; readonly count: number } | undefined;
  /** `bus.publish` for what this message causes: it gets the same correlation id and this message's id as its `causationId`. May be taken out of the context. */
  readonly publish: Publish;
}

/** What is seldom looked at, the signal and the publisher, is made when it is asked for. */
export class AttemptContext implements HandlerContext {
  readonly attempt: number;
  readonly redrive: HandlerContext['redrive'];
  readonly #attempt: Attempt;
  readonly #publish: Publish;

  constructor(attempt: Attempt, publish: Publish) {
    const { redriveOf, redrives, attempts } = attempt.state;
    this.attempt = attempts + 1;
    this.redrive = redriveOf === undefined ? undefined : { deadLetterId: redriveOf, count: redrives };
    this.#attempt = attempt;
    this.#publish = publish;
  }

  get signal(): AbortSignal {
    this.#attempt.abort ??= new AbortController();
    return this.#attempt.abort.signal;
  }

  get publish(): Publish {
    return publishCausedBy(this.#attempt.message as Message, this.#publish);
  }
}
