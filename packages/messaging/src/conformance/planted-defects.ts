/**
 * Defects planted between the toolkit and a real engine, each a mistake that engines have really made. The suite has to catch every one;
 * `planted-defects.int.test.ts` of the embedded engine shows that it does. They are wrappers and never part of an engine.
 */
import type { FailureOrder } from '../channel.ts';
import { pause, systemClock } from '../clock.ts';
import { encodeReceived } from '../cloud-event.ts';
import type {
  ChannelView,
  Consumer,
  DeadLetterRecord,
  DeadLetterStore,
  Delivery,
  DeliveryToken,
  Engine,
  EngineConnection,
  EngineView,
  OutgoingMessage,
  PublishConfirmation,
  SubscriptionName,
  SubscriptionView,
} from '../engine.ts';
import {
  type Wrap,
  defective,
  bindConsumer,
  withConsumer,
  withDeliveries,
  withOutgoing,
} from '../testing/defective.ts';
import { eventually } from './fixture.ts';

/** Channels with order that are to do the one after a failure do the other. */
function declaringOnFailure(asked: FailureOrder, done: FailureOrder): Wrap {
  return (real) => ({
    declare: (topology) =>
      real.declare({
        ...topology,
        channels: topology.channels.map((one) =>
          one.order === 'key' && one.onFailure === asked ? { ...one, onFailure: done } : one,
        ),
      }),
  });
}

const withSubscriptions =
  (real: EngineConnection, change: (one: SubscriptionView) => SubscriptionView) =>
  async (): Promise<EngineView> => {
    const view = await real.inspect();
    const channels = view.channels.map((channel) => ({
      ...channel,
      subscriptions: channel.subscriptions.map(change),
    }));
    return { ...view, channels };
  };

/** Between messages that one delay holds up. */
const BEHIND_MS = 100;

const without = <T extends object>(value: T, name: keyof T): T => {
  const { [name]: _, ...rest } = value;
  return rest as T;
};

const withOwnNames = (headers: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => /^[a-z0-9]{1,20}$/.test(name)));

const confirmAll = (
  { capabilities }: EngineConnection,
  batch: readonly OutgoingMessage[],
): readonly PublishConfirmation[] =>
  batch.map(({ message }) => ({ id: message.id, durability: capabilities.confirm, confirmedAt: 0 }));

export const plantedDefects = {
  /** Acknowledges on receipt, as a consumer in "auto-ack" does. */
  'ack before handle': (real) => ({
    async subscribe(spec, receive) {
      const { promise, resolve } = Promise.withResolvers<Consumer>();
      const settleFirst = async (deliveries: readonly Delivery[]): Promise<void> => {
        const consumer = await promise;
        await consumer.settle(deliveries.map(({ token }) => ({ kind: 'ack', token })));
        // A kill has to find what is settled and not begun: between the two there is hardly any time by itself.
        await pause(systemClock, 20);
        receive(deliveries);
      };
      const consumer = bindConsumer(
        await real.subscribe(spec, (deliveries) => void settleFirst(deliveries).catch(() => {})),
      );
      resolve(consumer);
      const settled: Consumer['extend'] = async (tokens) => tokens.map(() => 'settled');
      return { ...consumer, extend: settled, settle: async (all) => all.map(() => 'settled') };
    },
  }),
  /** Confirms when the message is on its way, not when it is stored. */
  'confirm before the commit': (real) => {
    let queue = Promise.resolve();
    return {
      async publish(batch) {
        queue = queue
          .then(() => pause(systemClock, 5))
          .then(() => real.publish(batch))
          .then(
            () => {},
            () => {},
          );
        return batch.map(({ message }) => ({
          id: message.id,
          durability: real.capabilities.confirm,
          confirmedAt: 0,
        }));
      },
    };
  },
  /** A late settlement settles whatever hand-out of the message is current. */
  'lease without a fence': (real) => ({
    async subscribe(spec, receive) {
      const current = new Map<string, DeliveryToken>();
      const idOf = new Map<DeliveryToken, string>();
      const consumer = bindConsumer(
        await real.subscribe(spec, (deliveries) => {
          for (const { token, message } of deliveries) {
            if (!message) continue;
            current.set(message.id, token);
            idOf.set(token, message.id);
          }
          receive(deliveries);
        }),
      );
      return {
        ...consumer,
        settle: (settlements) =>
          consumer.settle(
            settlements.map((one) => ({
              ...one,
              token: current.get(idOf.get(one.token) ?? '') ?? one.token,
            })),
          ),
      };
    },
  }),
  'no heartbeat': withConsumer(() => ({ extend: async (tokens) => tokens.map(() => 'settled') })),
  'settlements are lost': withConsumer((consumer) => ({
    settle: async (settlements) => {
      await consumer.settle(settlements.slice(1));
      return settlements.map(() => 'settled');
    },
  })),
  'a retry is an ack': withConsumer((consumer) => ({
    settle: (settlements) =>
      consumer.settle(
        settlements.map((one) => (one.kind === 'retry' ? { kind: 'ack', token: one.token } : one)),
      ),
  })),
  'a release is an ack': (real) => ({
    async subscribe(spec, receive) {
      const out = new Set<DeliveryToken>();
      const consumer = bindConsumer(
        await real.subscribe(spec, (deliveries) => {
          for (const { token } of deliveries) out.add(token);
          receive(deliveries);
        }),
      );
      return {
        ...consumer,
        settle: (settlements) =>
          consumer.settle(
            settlements.map((one) => (one.kind === 'release' ? { kind: 'ack', token: one.token } : one)),
          ),
        close: async () => {
          await consumer.settle([...out].map((token) => ({ kind: 'ack', token })));
          await consumer.close();
        },
      };
    },
  }),
  'the retry state is forgotten': withDeliveries((delivery) => ({ ...delivery, state: undefined })),
  /** Reads what it was only to keep. */
  'a state that is no JSON is dropped': withDeliveries((delivery) =>
    delivery.state?.startsWith('{"attempts"') === false ? { ...delivery, state: undefined } : delivery,
  ),
  'abandoned hand-outs are not counted': withDeliveries((delivery) => ({ ...delivery, abandoned: 0 })),
  'dead letters are dropped': withConsumer((consumer) => ({
    settle: (settlements) =>
      consumer.settle(
        settlements.map((one) => (one.kind === 'deadLetter' ? { kind: 'ack', token: one.token } : one)),
      ),
  })),
  'what is malformed is dropped': withConsumer((consumer) => ({
    settle: (settlements) =>
      consumer.settle(
        settlements.map((one) =>
          one.kind === 'deadLetter' && one.letter.history.some(({ kind }) => kind === 'malformed')
            ? { kind: 'ack', token: one.token }
            : one,
        ),
      ),
  })),
  /** No two messages that failed alike are in one group then. */
  'the group of a dead letter is its raw text': withConsumer((consumer) => ({
    settle: (settlements) =>
      consumer.settle(
        settlements.map((one) =>
          one.kind === 'deadLetter' ? { ...one, letter: { ...one.letter, group: one.letter.reason } } : one,
        ),
      ),
  })),
  /** What it says of it is right. */
  'a discard does nothing': (real) => ({
    deadLetters: {
      ...real.deadLetters,
      async discard(filter, limit) {
        const found = (await real.deadLetters.list(filter, { limit: 1_000 })).length;
        return { moved: Math.min(limit, found), remaining: Math.max(0, found - limit) };
      },
    },
  }),
  'dead letters forget their history': withConsumer((consumer) => ({
    settle: (settlements) =>
      consumer.settle(
        settlements.map((one) =>
          one.kind === 'deadLetter' ? { ...one, letter: { ...one.letter, history: [] } } : one,
        ),
      ),
  })),
  'a dead letter is what the handler left': (real) => {
    const given = new Map<string, () => string>();
    const left = (letter: DeadLetterRecord): DeadLetterRecord => ({
      ...letter,
      raw: given.get(letter.messageId)?.() ?? letter.raw,
    });
    const list: DeadLetterStore['list'] = async (...asked) =>
      (await real.deadLetters.list(...asked)).map(left);
    const remember = withDeliveries((delivery) => {
      const { message } = delivery;
      if (message) given.set(message.id, () => encodeReceived(message));
      return delivery;
    });
    return { ...remember(real), deadLetters: { ...real.deadLetters, list } };
  },
  'redrive takes everything, whatever the filter': (real) => ({
    deadLetters: { ...real.deadLetters, redrive: (_, limit) => real.deadLetters.redrive({}, limit) },
  }),
  'a delay is ignored': withOutgoing((one) => without(one, 'dueAt')),
  'a delay is claimed and ignored': (real) => ({
    capabilities: {
      ...real.capabilities,
      delay: { support: 'native', maxMs: 86_400_000, resolutionMs: 1 },
    },
    publish: (batch) => real.publish(batch.map((one) => without(one, 'dueAt'))),
  }),
  /** As a queue does that looks only at its head. */
  'a long delay holds up a shorter one': (real) => {
    let head = 0;
    const behindIt = (one: OutgoingMessage): OutgoingMessage => {
      if (one.dueAt === undefined) return one;
      // So far apart that an engine which hands out together what is due in one look does not bring them into order by chance.
      head = Math.max(head + BEHIND_MS, one.dueAt);
      return { ...one, dueAt: head };
    };
    return { publish: (batch) => real.publish(batch.map(behindIt)) };
  },
  'a priority is ignored': withOutgoing((one) => without(one, 'priority')),
  'an expiry is ignored': withOutgoing((one) => ({ ...one, message: without(one.message, 'expiresAt') })),
  'the key is lost': withOutgoing((one) => ({ ...one, message: without(one.message, 'key') })),
  /** As where one queue, or one worker, stands for all keys. */
  'one key stops all': withOutgoing((one) =>
    one.message.key === undefined ? one : { ...one, message: { ...one.message, key: 'same' } },
  ),
  'a dead letter frees its key': declaringOnFailure('blockKey', 'skip'),
  'followers go on': declaringOnFailure('sequencedDlq', 'skip'),
  'skip holds the key': declaringOnFailure('skip', 'blockKey'),
  'deliveries are reversed': (real) => ({
    subscribe: (spec, receive) => real.subscribe(spec, (deliveries) => receive([...deliveries].reverse())),
  }),
  'every message comes twice': (real) => ({
    publish: async (batch) => {
      await real.publish(batch);
      return real.publish(batch);
    },
  }),
  'one of a batch is not stored': (real) => ({
    publish: async (batch) => {
      await real.publish(batch.length > 1 ? batch.slice(1) : batch);
      return batch.map(({ message }) => ({
        id: message.id,
        durability: real.capabilities.confirm,
        confirmedAt: 0,
      }));
    },
  }),
  'prefetch is not kept': (real) => ({
    subscribe: (spec, receive) => real.subscribe({ ...spec, prefetch: spec.prefetch * 10 }, receive),
  }),
  'a confirmation claims too much': (real) => ({
    publish: async (batch) =>
      (await real.publish(batch)).map((one) => ({ ...one, durability: 'replicated' as const })),
  }),
  'bindings are ignored': (real) => ({
    declare: (topology) =>
      real.declare({
        ...topology,
        channels: topology.channels.map((one) => ({ ...one, routing: 'fanout' as const })),
        subscriptions: topology.subscriptions.map((one) => without(one, 'bindings')),
      }),
  }),
  /** The bindings of the first declaration stay for ever, those of later ones change nothing. */
  'bindings are never replaced': (real) => ({
    async declare(topology) {
      const { channels } = await real.inspect();
      const isKnown = ({ channel, name }: SubscriptionName): boolean =>
        channels.find((one) => one.name === channel)?.subscriptions.some((one) => one.name === name) === true;
      await real.declare({
        ...topology,
        subscriptions: topology.subscriptions.map((one) => (isKnown(one) ? without(one, 'bindings') : one)),
      });
    },
  }),
  /** As a broker does that was not asked to return what it cannot route. */
  'an unroutable message is confirmed': (real) => ({
    async publish(batch) {
      try {
        return await real.publish(batch);
      } catch (error) {
        if ((error as { code?: unknown }).code !== 'DB_MSG_UNROUTABLE') throw error;
        return confirmAll(real, batch);
      }
    },
  }),
  'peek takes': (real) => ({
    async peek(subscription, limit) {
      const seen = await real.peek(subscription, limit);
      const taken: DeliveryToken[] = [];
      const consumer = await real.subscribe(
        {
          channel: subscription.channel,
          subscription: subscription.name,
          prefetch: Math.max(1, limit),
          leaseMs: 30_000,
        },
        (deliveries) => taken.push(...deliveries.map(({ token }) => token)),
      );
      await eventually(
        async () => taken.length,
        (count) => count >= seen.length,
        'what was peeked at',
      );
      await consumer.settle(taken.map((token) => ({ kind: 'ack', token })));
      await consumer.close();
      return seen;
    },
  }),
  'a rewind ignores the point': (real) => ({
    rewind: (subscription) => real.rewind(subscription, 'earliest'),
  }),
  'a dry run of a rewind moves': (real) => ({
    rewind: (subscription, from) => real.rewind(subscription, from),
  }),
  'a rewind does nothing': () => ({ rewind: async () => {} }),
  'an edited redrive is a plain one': (real) => ({
    deadLetters: {
      ...real.deadLetters,
      async redriveEdited(id) {
        const letters = await real.deadLetters.list({}, { limit: 1_000 });
        const letter = letters.find((one) => one.id === id);
        if (!letter) return false;
        await real.deadLetters.redrive({ messageIds: [letter.messageId] }, 1);
        return true;
      },
    },
  }),
  /** Publishes the new message on the channel, where every subscription sees it and no place is kept. */
  'an edited redrive reaches all subscriptions': (real) => ({
    deadLetters: {
      ...real.deadLetters,
      async redriveEdited(id, message) {
        const letters = await real.deadLetters.list({}, { limit: 1_000 });
        const letter = letters.find((one) => one.id === id);
        if (!letter) return false;
        await real.publish([{ channel: letter.channel, message }]);
        await real.deadLetters.discard({ messageIds: [letter.messageId] }, 1);
        return true;
      },
    },
  }),
  'headers of strangers are dropped': withDeliveries((delivery) =>
    delivery.message === undefined
      ? delivery
      : { ...delivery, message: { ...delivery.message, headers: withOwnNames(delivery.message.headers) } },
  ),
  'large headers are dropped': withOutgoing((one) => ({
    ...one,
    message:
      JSON.stringify(one.message.headers).length > 65_536 ? { ...one.message, headers: {} } : one.message,
  })),
  'an id that came before is swallowed': (real) => {
    const ids = new Set<string>();
    return {
      async publish(batch) {
        const fresh = batch.filter(({ message }) => !ids.has(message.id));
        for (const { message } of batch) ids.add(message.id);
        await real.publish(fresh);
        return confirmAll(real, batch);
      },
    };
  },
  /** As by the time of the last publish, or of the last look. */
  'the age is that of the youngest': (real) => {
    let youngest = 0;
    return {
      async publish(batch) {
        const confirmations = await real.publish(batch);
        youngest = systemClock.now();
        return confirmations;
      },
      inspect: withSubscriptions(real, (one) =>
        one.oldestAgeMs === undefined ? one : { ...one, oldestAgeMs: systemClock.now() - youngest },
      ),
    };
  },
  'what is out is shown as waiting': (real) => ({
    inspect: withSubscriptions(real, (one) => ({ ...one, ready: one.ready + one.inFlight, inFlight: 0 })),
  }),
  'what waits for its time is shown as ready': (real) => ({
    inspect: withSubscriptions(real, (one) => ({ ...one, ready: one.ready + one.delayed, delayed: 0 })),
  }),
  'what is scheduled is not shown': (real) => ({
    async inspect() {
      const view = await real.inspect();
      return { ...view, channels: view.channels.map((one) => ({ ...one, scheduled: 0 })) };
    },
  }),
  'dead letters are shown without their groups': (real) => ({
    inspect: withSubscriptions(real, (one) => ({
      ...one,
      deadLetters: [{ group: '', count: one.deadLetters.reduce((sum, { count }) => sum + count, 0) }],
    })),
  }),
  /** Those of the first one for all. */
  'subscriptions of a channel share their counts': (real) => ({
    async inspect() {
      const view = await real.inspect();
      const shared = ({ subscriptions: [first, ...others] }: ChannelView): readonly SubscriptionView[] =>
        first ? [first, ...others.map(({ name }) => ({ ...first, name }))] : [];
      return { ...view, channels: view.channels.map((one) => ({ ...one, subscriptions: shared(one) })) };
    },
  }),
  'large messages are cut': withOutgoing((one) => {
    const { n, text } = one.message.data as { n?: number; text?: string };
    return (text?.length ?? 0) > 1_000 ? { ...one, message: { ...one.message, data: { n, text: '' } } } : one;
  }),
  /** As a queue does of which everybody else is a standby. */
  'only the first consumer is served': (real) => {
    let first = true;
    return {
      async subscribe(spec, receive) {
        const isFirst = first;
        first = false;
        return real.subscribe(spec, isFirst ? receive : () => {});
      },
    };
  },
  /** Confirms, and stores when somebody comes to consume. */
  'what nobody consumes yet is kept in memory': (real) => {
    let held: OutgoingMessage[] | undefined = [];
    return {
      async publish(batch) {
        if (!held) return real.publish(batch);
        held.push(...batch);
        return confirmAll(real, batch);
      },
      async subscribe(spec, receive) {
        const consumer = await real.subscribe(spec, receive);
        const late = held ?? [];
        held = undefined;
        if (late.length > 0) await real.publish(late);
        return consumer;
      },
    };
  },
  'text is kept in a single byte a character': withOutgoing((one) => {
    const { data } = one.message;
    if (data instanceof Uint8Array) return one;
    const cut = JSON.stringify(data)?.replace(/[^\0-\xff]/g, '?');
    return cut === undefined
      ? one
      : { ...one, message: { ...one.message, data: JSON.parse(cut) as unknown } };
  }),
  'bytes are read as text': withOutgoing((one) => {
    const { data } = one.message;
    if (!(data instanceof Uint8Array)) return one;
    const read = new TextEncoder().encode(new TextDecoder().decode(data));
    return { ...one, message: { ...one.message, data: read } };
  }),
  'an expiry that is no time has passed': (real) => ({
    async subscribe(spec, receive) {
      const isOver = ({ message }: Delivery): boolean =>
        message?.expiresAt !== undefined && Number.isNaN(Date.parse(message.expiresAt));
      return real.subscribe(spec, (all) => receive(all.filter((one) => !isOver(one))));
    },
  }),
  'bindings that are not given take everything': (real) => ({
    declare: (topology) =>
      real.declare({
        ...topology,
        subscriptions: topology.subscriptions.map((one) => ({ ...one, bindings: one.bindings ?? ['#'] })),
      }),
  }),
  'who is to be forgotten is not asked for consumers': (real) => ({
    declare: (topology) => real.declare({ ...topology, removed: [] }),
  }),
  'an unknown subscription is an empty one': (real) => ({
    async peek(subscription, limit) {
      return real.peek(subscription, limit).catch(() => []);
    },
    async rewind(subscription, from, options) {
      await real.rewind(subscription, from, options).catch(() => {});
    },
  }),
  'peek passes over what is malformed': (real) => ({
    peek: async (subscription, limit) =>
      (await real.peek(subscription, limit)).filter(({ message }) => message !== undefined),
  }),
  'a rewind takes dead letters with it': (real) => ({
    async rewind(subscription, from, options) {
      await real.deadLetters.redrive({}, 1_000);
      await real.rewind(subscription, from, options);
    },
  }),
  'what waits behind its key is shown as ready too': (real) => ({
    inspect: withSubscriptions(real, (one) => ({ ...one, ready: one.ready + one.waitingForKey })),
  }),
} as const satisfies Record<string, Wrap>;

export type PlantedDefect = keyof typeof plantedDefects;

export function plant(defect: PlantedDefect, engine: Engine): Engine {
  return defective(engine, plantedDefects[defect]);
}

/** No defect by itself: calls back when the consumers or the connection of the engine are being left. */
export function whenLeaving(engine: Engine, leaving: () => void): Engine {
  const first = <T>(then: () => T): T => {
    leaving();
    return then();
  };
  return defective(engine, (real) => ({
    ...withConsumer((consumer) => ({
      pause: () => first(() => consumer.pause()),
      close: () => first(() => consumer.close()),
    }))(real),
    close: () => first(() => real.close()),
  }));
}
