/**
 * One consumer of a subscription, seen from its connection: its settlements go to the writer as operations, and what the writer hands out comes as deliveries. Who
 * gets what, leases and lanes are the writer's (`subscription.ts`).
 */
import { decodeCloudEvent } from '../../cloud-event.ts';
import type { Consumer, Delivery, DeliveryToken, Settlement, SettleResult } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import { wholeMs } from './positions.ts';
import { faultOfSettlement } from './sound-settlement.ts';
import type { Ask, HandOut, ReadBody } from './turn.ts';

export class EmbeddedConsumer implements Consumer {
  readonly #ask: Ask;
  readonly #id: number;
  readonly #left: () => void;

  constructor(ask: Ask, id: number, left: () => void) {
    this.#ask = ask;
    this.#id = id;
    this.#left = left;
  }

  settle(settlements: readonly Settlement[]): Promise<readonly SettleResult[]> {
    const isSound = (one: Settlement): boolean => faultOfSettlement(one) === undefined;
    if (!settlements.every(isSound)) return this.#settleSound(settlements.filter(isSound), settlements);
    const whole = settlements.every(isWhole) ? settlements : settlements.map(inWholeMs);
    return this.#ask({ op: 'settle', consumer: this.#id, settlements: whole });
  }

  /** One that nobody can store takes none of the others along: they are settled, and then it is told. */
  async #settleSound(
    rest: readonly Settlement[],
    settlements: readonly Settlement[],
  ): Promise<readonly SettleResult[]> {
    if (rest.length > 0) await this.settle(rest);
    const faults = settlements.flatMap((one, index) => {
      const fault = faultOfSettlement(one);
      return fault === undefined ? [] : [`${index}: ${fault}`];
    });
    throw new MessagingError('DB_MSG_INVALID_OPTIONS', `not settled, by their place: ${faults.join('; ')}`);
  }

  extend(tokens: readonly DeliveryToken[]): Promise<readonly SettleResult[]> {
    return this.#ask({ op: 'extend', consumer: this.#id, tokens: tokens as readonly number[] });
  }

  pause(): Promise<void> {
    return this.#ask({ op: 'pause', consumer: this.#id });
  }

  async close(): Promise<void> {
    this.#left();
    await this.#ask({ op: 'leave', consumer: this.#id });
  }
}

/** Delays and clocks may have fractions; the columns of the store have none. */
function isWhole(one: Settlement): boolean {
  if (one.kind === 'deadLetter') return Number.isSafeInteger(one.letter.at);
  return one.kind !== 'retry' || Number.isSafeInteger(one.dueAt);
}

function inWholeMs(one: Settlement): Settlement {
  if (one.kind === 'deadLetter') return { ...one, letter: { ...one.letter, at: wholeMs(one.letter.at) } };
  return one.kind === 'retry' ? { ...one, dueAt: wholeMs(one.dueAt) } : one;
}

export function deliveryOf(item: HandOut): Delivery {
  const { message, malformed } = item.read ?? messageOf(item.body);
  const delivery = {
    token: item.token,
    message,
    raw: item.body,
    state: item.state ?? undefined,
    abandoned: item.abandoned,
  };
  return malformed === undefined ? delivery : { ...delivery, malformed };
}

/** Undefined with the reason where the body is no CloudEvent: a foreign or broken publisher left it. */
export function messageOf(body: string): ReadBody {
  try {
    return { message: decodeCloudEvent(body) };
  } catch (error) {
    return { message: undefined, malformed: (error as Error).message };
  }
}
