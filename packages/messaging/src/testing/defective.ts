/** Wrappers around a real engine in which some of its methods are others: what planted defects are made with. */
import type {
  Consumer,
  DeadLetterStore,
  Delivery,
  Engine,
  EngineConnection,
  OutgoingMessage,
} from '../engine.ts';

export type Wrap = (connection: EngineConnection) => Partial<EngineConnection>;
export type WrapConsumer = (consumer: Consumer) => Partial<Consumer>;

/** A connection and its store of dead letters are class instances, so their methods are bound before some are replaced. */
export function defective(engine: Engine, wrap: Wrap): Engine {
  return {
    name: engine.name,
    async connect(context) {
      const real = await engine.connect(context);
      const bound: EngineConnection = {
        capabilities: real.capabilities,
        standing: async (channels) => (await real.standing?.(channels)) ?? new Map(),
        deadLetters: bindDeadLetters(real.deadLetters),
        declare: (topology) => real.declare(topology),
        publish: (batch) => real.publish(batch),
        subscribe: (spec, receive) => real.subscribe(spec, receive),
        inspect: () => real.inspect(),
        peek: (subscription, limit) => real.peek(subscription, limit),
        rewind: (subscription, from, options) => real.rewind(subscription, from, options),
        close: () => real.close(),
      };
      return { ...bound, ...wrap(bound) };
    },
  };
}

export const bindConsumer = (real: Consumer): Consumer => ({
  settle: (settlements) => real.settle(settlements),
  extend: (tokens) => real.extend(tokens),
  pause: () => real.pause(),
  close: () => real.close(),
});

const bindDeadLetters = (real: DeadLetterStore): DeadLetterStore => ({
  list: (filter, page) => real.list(filter, page),
  redrive: (filter, limit) => real.redrive(filter, limit),
  redriveEdited: (id, message, state) => real.redriveEdited(id, message, state),
  discard: (filter, limit) => real.discard(filter, limit),
});

export const withConsumer =
  (change: WrapConsumer): Wrap =>
  (real) => ({
    subscribe: async (spec, receive) => {
      const consumer = bindConsumer(await real.subscribe(spec, receive));
      return { ...consumer, ...change(consumer) };
    },
  });

export const withDeliveries =
  (change: (delivery: Delivery) => Delivery): Wrap =>
  (real) => ({
    subscribe: (spec, receive) => real.subscribe(spec, (deliveries) => receive(deliveries.map(change))),
  });

export const withOutgoing =
  (change: (message: OutgoingMessage) => OutgoingMessage): Wrap =>
  (real) => ({ publish: (batch) => real.publish(batch.map(change)) });
