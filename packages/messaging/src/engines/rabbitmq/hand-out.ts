/** What a consumer of the bus gets to see of a message that is lent to it. */
import type { Delivery, DeliveryToken } from '../../engine.ts';
import type { Entry } from './source.ts';
import { rawOf, type Received } from './wire.ts';

/** `raw` is made when asked for: only people and malformed messages need it. */
export class HandOut implements Delivery {
  readonly token: DeliveryToken;
  readonly message: Delivery['message'];
  readonly malformed?: string;
  readonly state: string | undefined;
  readonly abandoned: number | undefined;
  readonly #received: Received;

  constructor(token: DeliveryToken, { received, state, abandoned }: Entry) {
    this.token = token;
    this.message = received.give();
    if (received.malformed !== undefined) this.malformed = received.malformed;
    this.state = state;
    this.abandoned = abandoned;
    this.#received = received;
  }

  get raw(): string {
    return rawOf(this.#received);
  }
}
