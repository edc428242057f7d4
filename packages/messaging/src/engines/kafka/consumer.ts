/**
 * One consumer of a subscription: what it holds, and until when. Consumers of one subscription in the same process share its reader, and so one
 * membership of the group: they compete for messages. Consumers of different processes compete for partitions.
 */
import type { Clock } from '../../clock.ts';
import type {
  Consumer,
  ConsumerSpec,
  Delivery,
  DeliveryToken,
  Settlement,
  SettleResult,
} from '../../engine.ts';
import { Leases } from '../../leases.ts';
import type { Message } from '../../message.ts';
import type { Entry } from './partition.ts';
import { rawOf, type Received } from './wire.ts';

export interface ConsumerParts {
  readonly clock: Clock;
  readonly spec: ConsumerSpec;
  readonly nextToken: () => DeliveryToken;
  readonly settle: (pairs: readonly (readonly [Settlement, Entry])[]) => Promise<void>;
  readonly onLeaseEnd: (entry: Entry) => void;
  readonly onCapacity: () => void;
  /** Takes back what the consumer had, in the order of the hand-outs. */
  readonly onClose: (consumer: KafkaConsumer, held: readonly Entry[]) => Promise<void>;
}

type Pair = readonly [Settlement, Entry];

export class KafkaConsumer implements Consumer {
  readonly #parts: ConsumerParts;
  readonly #receive: (deliveries: readonly Delivery[]) => void;
  readonly #leases: Leases<Entry>;
  /** Under settlement: neither out nor settled yet. Looked through by a heartbeat only, so nothing is kept by token. */
  readonly #moving = new Set<readonly Pair[]>();
  #movingCount = 0;
  #paused = false;
  #closing: Promise<void> | undefined;
  /** Chosen and not handed out yet: the hand-out is being written down. */
  coming = 0;

  constructor(parts: ConsumerParts, receive: (deliveries: readonly Delivery[]) => void) {
    this.#parts = parts;
    this.#receive = receive;
    this.#leases = new Leases(parts.clock, parts.spec.leaseMs, (entry) => parts.onLeaseEnd(entry));
  }

  get spec(): ConsumerSpec {
    return this.#parts.spec;
  }

  get held(): number {
    return this.#leases.size + this.#movingCount;
  }

  get capacity(): number {
    return this.#paused ? 0 : this.#parts.spec.prefetch - this.held - this.coming;
  }

  get isPaused(): boolean {
    return this.#paused;
  }

  deliver(entries: readonly Entry[]): void {
    const deliveries = entries.map((entry) => this.#lend(entry));
    if (deliveries.length > 0) this.#receive(deliveries);
  }

  /** Their partitions belong to somebody else now: late settlements will be told. */
  lose(isLost: (entry: Entry) => boolean): void {
    this.#leases.remove(isLost);
  }

  async settle(settlements: readonly Settlement[]): Promise<readonly SettleResult[]> {
    const entries = settlements.map(({ token }) => this.#leases.take(token));
    const pairs: Pair[] = [];
    for (let index = 0; index < entries.length; index += 1) {
      const entry = entries[index];
      if (entry) pairs.push([settlements[index] as Settlement, entry]);
    }
    this.#moving.add(pairs);
    this.#movingCount += pairs.length;
    try {
      await this.#parts.settle(pairs);
    } catch (error) {
      // Those that did not move are still lent, or trying again would find them lost.
      for (const [{ token }, entry] of pairs)
        if (entry.stage === 'out' && entry.source.owner.alive) this.#leases.lend(token, entry);
      throw error;
    } finally {
      this.#moving.delete(pairs);
      this.#movingCount -= pairs.length;
      this.#parts.onCapacity();
    }
    return entries.map((entry) => (entry?.source.owner.alive ? 'settled' : 'lost'));
  }

  async extend(tokens: readonly DeliveryToken[]): Promise<readonly SettleResult[]> {
    return tokens.map((token) => (this.#leases.extend(token) || this.#isMoving(token) ? 'settled' : 'lost'));
  }

  async pause(): Promise<void> {
    this.#paused = true;
  }

  close(): Promise<void> {
    this.#paused = true;
    this.#closing ??= this.#parts.onClose(this, this.#leases.clear());
    return this.#closing;
  }

  #isMoving(token: DeliveryToken): boolean {
    for (const pairs of this.#moving)
      if (pairs.some(([settlement]) => settlement.token === token)) return true;
    return false;
  }

  #lend(entry: Entry): Delivery {
    const token = this.#parts.nextToken();
    this.#leases.lend(token, entry);
    return new LentDelivery(token, entry);
  }
}

class LentDelivery implements Delivery {
  readonly token: DeliveryToken;
  readonly message: Message | undefined;
  readonly malformed?: string;
  readonly state: string | undefined;
  readonly abandoned: number;
  readonly #received: Received;

  constructor(token: DeliveryToken, { received, source, offset, state, abandonedBefore }: Entry) {
    this.token = token;
    const { message, malformed } = received.give();
    this.message = message;
    if (malformed !== undefined) this.malformed = malformed;
    this.state = state;
    this.abandoned = abandonedBefore + source.ledger.countOf(offset);
    this.#received = received;
  }

  /** Made when asked for: only dead letters and people look at it. */
  get raw(): string {
    return rawOf(this.#received);
  }
}
