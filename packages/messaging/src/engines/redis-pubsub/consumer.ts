/**
 * One subscriber: what it hears waits here, in memory, until a handler has room. There is no lease, because there is nobody else to hand a message to:
 *
 *   heard --room--> handed out --ack--> gone
 *     |                |--retry--> waits for its time, in memory --> heard
 *     |                '--dead letter--> told as an error, and gone
 *     '--too many wait--> dropped and counted
 *
 * What waits for its time counts among those that wait: handlers that put everything off would else fill the memory, a timer each. A message that has been handed out is not
 * dropped for room, so there may be as many more as were out.
 */
import type { CancelTimer, Clock } from '../../clock.ts';
import { decodeCloudEvent } from '../../cloud-event.ts';
import type {
  Consumer,
  ConsumerSpec,
  Delivery,
  DeliveryToken,
  Settlement,
  SettleResult,
  SubscriptionView,
} from '../../engine.ts';

export interface ListenerParts {
  readonly clock: Clock;
  readonly maxWaiting: number;
  /** Told the reasons of what became dead letters, which nobody keeps. */
  readonly onLost: (reasons: readonly string[]) => void;
  readonly left: () => Promise<void>;
}

interface Heard {
  readonly text: string;
  readonly at: number;
  state: string | undefined;
}

export class Listener implements Consumer {
  readonly spec: ConsumerSpec;
  readonly #receive: (deliveries: readonly Delivery[]) => void;
  readonly #parts: ListenerParts;
  readonly #waiting: Heard[] = [];
  readonly #out = new Map<DeliveryToken, Heard>();
  readonly #delayed = new Map<Heard, CancelTimer>();
  #nextToken = 1;
  #dropped = 0;
  #paused = false;

  constructor(spec: ConsumerSpec, receive: (deliveries: readonly Delivery[]) => void, parts: ListenerParts) {
    this.spec = spec;
    this.#receive = receive;
    this.#parts = parts;
  }

  hear(text: string): void {
    if (this.#paused) return;
    if (this.#waiting.length + this.#delayed.size >= this.#parts.maxWaiting) {
      this.#dropped += 1;
      return;
    }
    this.#waiting.push({ text, at: this.#parts.clock.now(), state: undefined });
    this.#handOut();
  }

  /**
   * A dead letter is settled as the others are: there is nowhere to keep it, and trying again would find nothing. A silent loss would be a lie, so it is told. To
   * reject would make one loss the failure of all that were settled with it.
   */
  async settle(settlements: readonly Settlement[]): Promise<readonly SettleResult[]> {
    const lost: string[] = [];
    const results = settlements.map((settlement): SettleResult => {
      const heard = this.#out.get(settlement.token);
      if (!heard) return 'lost';
      this.#out.delete(settlement.token);
      if (settlement.kind === 'retry') this.#again(heard, settlement.dueAt, settlement.state);
      else if (settlement.kind === 'release' && !this.#paused) this.#waiting.unshift(heard);
      else if (settlement.kind === 'deadLetter') lost.push(settlement.letter.reason);
      return 'settled';
    });
    this.#handOut();
    if (lost.length > 0) this.#parts.onLost(lost);
    return results;
  }

  async extend(tokens: readonly DeliveryToken[]): Promise<readonly SettleResult[]> {
    return tokens.map((token) => (this.#out.has(token) ? 'settled' : 'lost'));
  }

  async pause(): Promise<void> {
    this.#paused = true;
  }

  async close(): Promise<void> {
    this.#paused = true;
    for (const cancel of this.#delayed.values()) cancel();
    this.#delayed.clear();
    this.#waiting.length = 0;
    this.#out.clear();
    await this.#parts.left();
  }

  view(): SubscriptionView {
    return {
      name: this.spec.subscription,
      ready: this.#waiting.length,
      delayed: this.#delayed.size,
      waitingForKey: 0,
      inFlight: this.#out.size,
      oldestAgeMs: this.#oldestAgeMs(),
      deadLetters: [],
      expired: this.#dropped,
      consumers: 1,
      // Others hear for themselves, and nobody knows what they hold.
      partial: ['ready', 'delayed', 'inFlight', 'oldestAgeMs'],
    };
  }

  #oldestAgeMs(): number | undefined {
    let oldest = Number.POSITIVE_INFINITY;
    for (const some of [this.#waiting, this.#out.values(), this.#delayed.keys()])
      for (const { at } of some) oldest = Math.min(oldest, at);
    return oldest === Number.POSITIVE_INFINITY ? undefined : this.#parts.clock.now() - oldest;
  }

  #again(heard: Heard, dueAt: number, state: string): void {
    if (this.#paused) return;
    heard.state = state;
    const cancel = this.#parts.clock.setTimer(Math.max(0, dueAt - this.#parts.clock.now()), () => {
      this.#delayed.delete(heard);
      this.#waiting.unshift(heard);
      this.#handOut();
    });
    this.#delayed.set(heard, cancel);
  }

  #handOut(): void {
    const deliveries: Delivery[] = [];
    while (!this.#paused && this.#waiting.length > 0 && this.#out.size < this.spec.prefetch) {
      const heard = this.#waiting.shift() as Heard;
      const token = this.#nextToken++;
      this.#out.set(token, heard);
      deliveries.push(deliveryOf(token, heard));
    }
    if (deliveries.length > 0) this.#receive(deliveries);
  }
}

function deliveryOf(token: number, { text, state }: Heard): Delivery {
  const common = { token, raw: text, state, abandoned: 0 };
  try {
    return { ...common, message: decodeCloudEvent(text) };
  } catch (error) {
    return { ...common, message: undefined, malformed: (error as Error).message };
  }
}
