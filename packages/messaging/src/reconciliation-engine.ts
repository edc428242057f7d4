/** What the engine still holds, for a reconciliation: the dead letters of some messages, and how far back the backlog of a subscription reaches. */
import type { SubscriptionView } from './engine.ts';
import type { EngineSight } from './reconciliation-sources.ts';

const LETTERS_PER_PAGE = 500;
/** The engine's clock and ours may differ by so much, ms; within it a message counts as perhaps waiting. */
const CLOCK_SLACK_MS = 5_000;

export interface LetterPlace {
  readonly channel: string;
  readonly subscription: string;
}

/** By message id, where it is a dead letter: perhaps more than once in a place. */
export async function deadLettersOf(
  engine: EngineSight | undefined,
  messageIds: readonly string[],
): Promise<ReadonlyMap<string, readonly LetterPlace[]>> {
  const found = new Map<string, LetterPlace[]>();
  if (!engine || messageIds.length === 0) return found;
  let after: string | undefined;
  for (;;) {
    const page = { limit: LETTERS_PER_PAGE, ...(after === undefined ? {} : { after }) };
    const letters = await engine.deadLetters.list({ messageIds }, page);
    for (const { messageId, channel, subscription } of letters) {
      const places = found.get(messageId) ?? [];
      places.push({ channel, subscription });
      found.set(messageId, places);
    }
    after = letters.at(-1)?.id;
    if (letters.length < LETTERS_PER_PAGE || after === undefined) return found;
  }
}

export function placeOf(channel: string, subscription: string): string {
  return JSON.stringify([channel, subscription]);
}

/**
 * Why nobody can say that a message is not in a subscription any more. `blind`: the engine does not show the subscription. `partial`: it shows only a part of
 * what is out at handlers or waits for a time.
 */
export type Doubt = 'blind' | 'partial';

export class EngineBacklog {
  readonly #engine: EngineSight | undefined;
  readonly #assumeIdle: boolean;
  #subscriptions = new Map<string, SubscriptionView>();
  #showsAll = false;
  #names = new Map<string, readonly string[]>();
  /** By place: how many that this run published again are still there, for sure. */
  readonly #own = new Map<string, number>();

  /** `assumeIdle`: the caller vouches for what the engine does not see of a subscription that it shows. */
  constructor(engine: EngineSight | undefined, assumeIdle: boolean) {
    this.#engine = engine;
    this.#assumeIdle = assumeIdle;
  }

  /** Looks again; the answers below are of the last look. */
  async look(): Promise<void> {
    const { channels, showsAll = false } = (await this.#engine?.view()) ?? { channels: [] };
    this.#showsAll = showsAll;
    this.#names = new Map(
      channels.map(({ name, subscriptions }) => [name, subscriptions.map((one) => one.name)]),
    );
    this.#subscriptions = new Map(
      channels.flatMap(({ name, subscriptions }) =>
        subscriptions.map((one) => [placeOf(name, one.name), one] as const),
      ),
    );
    this.#forgetTaken();
  }

  /** This run has published a message again that reaches this subscription, and leaves it in no other way than through a consumer. */
  addOwn(channel: string, subscription: string): void {
    const place = placeOf(channel, subscription);
    this.#own.set(place, (this.#own.get(place) ?? 0) + 1);
  }

  /**
   * Where a consumer may have taken some of ours, as many that wait may be of others: another repair, a redrive. How many are taken no count tells, because what is at a handler need not be shown.
   * So none counts as ours any more.
   */
  #forgetTaken(): void {
    for (const [place, count] of this.#own) {
      const view = this.#subscriptions.get(place);
      if (!view || view.consumers > 0 || waitingIn(view) < count) this.#own.delete(place);
    }
  }

  /** There is an engine, and it does not show this subscription, which may be there: some show only what their own connection declared. */
  isBlindTo(channel: string, subscription: string): boolean {
    return (
      this.#engine !== undefined &&
      !this.#showsAll &&
      !this.#subscriptions.has(placeOf(channel, subscription))
    );
  }

  /** Asked about a message that nothing shown can be: undefined when it is not there for sure. */
  doubt(channel: string, subscription: string): Doubt | undefined {
    if (this.isBlindTo(channel, subscription)) return 'blind';
    const { partial = [] } = this.#subscriptions.get(placeOf(channel, subscription)) ?? {};
    return !this.#assumeIdle && partial.some((count) => count !== 'oldestAgeMs') ? 'partial' : undefined;
  }

  subscriptionsOf(channel: string): readonly string[] {
    return this.#names.get(channel) ?? [];
  }

  /**
   * Whether a message that could be handed out `ageMs` ago may still wait there: something waits, and the oldest of it is as old. Where the engine does not know the age of
   * its oldest, anything that waits may be it, but as many as this run has published there itself: a repair would else hide from its second page on what it is to find.
   */
  mayHold(channel: string, subscription: string, ageMs: number): boolean {
    const place = placeOf(channel, subscription);
    const view = this.#subscriptions.get(place);
    if (!view) return false;
    const { oldestAgeMs, partial } = view;
    const waiting = waitingIn(view);
    if (waiting === 0) return false;
    if (oldestAgeMs === undefined || partial?.includes('oldestAgeMs'))
      return waiting > (this.#own.get(place) ?? 0);
    return ageMs <= oldestAgeMs + CLOCK_SLACK_MS;
  }
}

function waitingIn({ ready, delayed, waitingForKey, inFlight }: SubscriptionView): number {
  return ready + delayed + waitingForKey + inFlight;
}
