/**
 * What the operations of one bus are called in spans and metrics. Nothing of it depends on a message, so each is made once, the first time it is met: there are as
 * many as channels and subscriptions times what is done with them. What is kept here is handed out again and again: nobody may change it.
 */
import type { Attributes } from '@opentelemetry/api';
import type { ConsumingPlace, ObservedBus } from '../telemetry.ts';
import { systemOf } from './attributes.ts';

/** `create` and `send` of the conventions, `process` and `settle`; the name of an operation is what the engine calls it. */
export type OperationType = 'create' | 'send' | 'process' | 'settle';

export interface Operation {
  readonly type: OperationType;
  readonly spanName: string;
  /** Of few values: fit for metrics as well as spans. */
  readonly attributes: Attributes;
}

/** Replies go to a channel of the asking process: too many names for a span or a metric, and for keeping one operation each. */
const REPLIES_TEMPLATE = 'replies.{id}';

export class Operations {
  readonly #bus: ObservedBus;
  readonly #ofBus: Attributes;
  readonly #made = new Map<string, Operation>();

  constructor(bus: ObservedBus) {
    this.#bus = bus;
    const { engine, server } = bus;
    this.#ofBus = {
      'messaging.system': systemOf(engine),
      ...(server && { 'server.address': server.address, 'server.port': server.port }),
    };
  }

  /** `channel` is undefined when one operation serves several. */
  producing(type: 'create' | 'send', channel: string | undefined): Operation {
    return this.#once(`${type} ${channel ?? ''}`, () =>
      this.#operation(type, type, channel, {
        ...this.#ofBus,
        ...(channel === undefined ? {} : { 'messaging.destination.name': channel }),
      }),
    );
  }

  replying(): Operation {
    return this.#once('reply', () =>
      this.#operation('send', 'send', REPLIES_TEMPLATE, {
        ...this.#ofBus,
        'messaging.destination.template': REPLIES_TEMPLATE,
        'messaging.destination.temporary': true,
      }),
    );
  }

  consuming(type: 'process' | 'settle', name: string, place: ConsumingPlace): Operation {
    // Neither the name of an operation nor that of a channel has a space.
    return this.#once(`${name} ${place.channel} ${place.subscription}`, () =>
      this.#operation(type, name, place.channel, this.place(place)),
    );
  }

  /** Of few values too, made anew: what is left to look at in a store may come and go. */
  place({ channel, subscription }: ConsumingPlace): Attributes {
    const group = this.#bus.consumerGroupOf({ channel, subscription });
    return {
      ...this.#ofBus,
      'messaging.destination.name': channel,
      'messaging.destination.subscription.name': subscription,
      ...(group === undefined ? {} : { 'messaging.consumer.group.name': group }),
    };
  }

  #operation(
    type: OperationType,
    name: string,
    destination: string | undefined,
    place: Attributes,
  ): Operation {
    return {
      type,
      spanName: destination === undefined ? name : `${name} ${destination}`,
      attributes: { ...place, 'messaging.operation.name': name, 'messaging.operation.type': type },
    };
  }

  #once(key: string, make: () => Operation): Operation {
    const known = this.#made.get(key);
    if (known) return known;
    const made = make();
    this.#made.set(key, made);
    return made;
  }
}
