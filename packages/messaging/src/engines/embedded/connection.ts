/**
 * One engine connection: every call of the port becomes an operation that is asked of the writer, and joins the next turn. What an operation does is decided by
 * the writer (`store.ts`): there `topology.ts` declares, `dead-letters.ts` lists and redrives, `replay.ts` peeks and rewinds, `view.ts` counts.
 */
import type {
  Capabilities,
  Consumer,
  ConsumerSpec,
  DeadLetterStore,
  Delivery,
  EngineConnection,
  EngineContext,
  EngineView,
  OutgoingMessage,
  PeekedMessage,
  PublishConfirmation,
  ReplayPoint,
  SubscriptionName,
  Topology,
} from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import { refuseUnbindable } from './bindable.ts';
import { capabilitiesOf } from './capabilities.ts';
import { deliveryOf, EmbeddedConsumer, messageOf } from './consumer.ts';
import { Publisher } from './publisher.ts';
import type { HandOut, Operation, OperationValue, TurnReply, Writer } from './turn.ts';
import { TurnQueue } from './turn-queue.ts';

export class EmbeddedConnection implements EngineConnection {
  readonly capabilities: Capabilities;
  readonly deadLetters: DeadLetterStore;
  readonly #writer: Writer;
  readonly #queue: TurnQueue;
  readonly #publisher: Publisher;
  readonly #receivers = new Map<number, (deliveries: readonly Delivery[]) => void>();
  /** Read before they are handed out. Not a WeakMap: its tables would keep messages alive through young collections. */
  #foretold: readonly { readonly items: readonly HandOut[]; readonly deliveries: readonly Delivery[] }[] = [];
  #nextConsumer = 1;
  #closing: Promise<void> | undefined;

  constructor(writer: Writer, context: EngineContext, maxMessageBytes: number) {
    this.#writer = writer;
    this.#queue = new TurnQueue({
      writer,
      clock: context.clock,
      onHandOuts: (handOuts) => this.#handOut(handOuts),
      onLost: (error) => {
        if (!this.#closing) context.onFatal(error);
      },
    });
    writer.listen?.((handOuts) => this.#handOut(handOuts));
    writer.foretell?.((handOuts) => this.#read(handOuts));
    writer.readAhead?.(messageOf);
    this.capabilities = capabilitiesOf(writer, maxMessageBytes);
    this.#publisher = new Publisher({
      ask: (operation) => this.#ask(operation),
      endedAt: () => this.#queue.endedAt,
      durability: () => writer.durability,
      maxMessageBytes: this.capabilities.maxMessageBytes,
    });
    this.deadLetters = {
      list: (filter, page) =>
        this.#ask({ op: 'listDead', filter, limit: wholeCount(page.limit), after: page.after }),
      redriveEdited: async (id, message, state) =>
        this.#ask({ op: 'redriveEdited', id, state, ...this.#publisher.replacementOf(message) }),
      redrive: (filter, limit) => this.#ask({ op: 'redrive', filter, limit: wholeCount(limit) }),
      discard: (filter, limit) => this.#ask({ op: 'discard', filter, limit: wholeCount(limit) }),
    };
  }

  declare(topology: Topology): Promise<void> {
    return this.#ask({ op: 'declare', topology });
  }

  publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishConfirmation[]> {
    return this.#publisher.publish(batch);
  }

  /** Stores a text as it is: what a foreign or broken publisher might have left. For conformance tests. */
  publishRaw(channel: string, body: string): Promise<void> {
    return this.#ask({
      op: 'publish',
      rows: [{ channel, level: 0, key: null, expiresAt: null, dueAt: null, body }],
    });
  }

  async subscribe(spec: ConsumerSpec, receive: (deliveries: readonly Delivery[]) => void): Promise<Consumer> {
    const id = this.#nextConsumer++;
    this.#receivers.set(id, receive);
    try {
      await this.#ask({ op: 'subscribe', consumer: id, ...spec });
    } catch (error) {
      this.#receivers.delete(id);
      throw error;
    }
    return new EmbeddedConsumer(
      (operation) => this.#ask(operation),
      id,
      () => this.#receivers.delete(id),
    );
  }

  async peek({ channel, name }: SubscriptionName, limit: number): Promise<readonly PeekedMessage[]> {
    const rows = await this.#ask({ op: 'peek', channel, subscription: name, limit: wholeCount(limit) });
    return rows.map(({ offset, body }) => ({ offset, message: messageOf(body).message, raw: body }));
  }

  rewind(
    { channel, name }: SubscriptionName,
    from: ReplayPoint,
    { dryRun = false }: { readonly dryRun?: boolean } = {},
  ): Promise<void> {
    return this.#ask({ op: 'rewind', channel, subscription: name, from, dryRun });
  }

  async inspect(): Promise<EngineView> {
    return { engine: 'embedded', showsAll: true, ...(await this.#ask({ op: 'inspect' })) };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const left = await Promise.allSettled(
      [...this.#receivers.keys()].map((consumer) => this.#queue.ask({ op: 'leave', consumer })),
    );
    this.#receivers.clear();
    this.#queue.rest();
    // What was asked before the close is answered, or a publisher would wait for ever.
    await this.#queue.idle();
    await this.#writer.close();
    // Only now: whatever could not be stored, the file is let go.
    for (const one of left) if (one.status === 'rejected') throw one.reason;
  }

  #ask<O extends Operation>(operation: O): Promise<OperationValue[O['op']]> {
    if (this.#closing)
      return Promise.reject(new MessagingError('DB_MSG_STOPPED', 'the engine has been closed'));
    try {
      refuseUnbindable(operation);
    } catch (error) {
      return Promise.reject(error as MessagingError);
    }
    return this.#queue.ask(operation);
  }

  #handOut(handOuts: TurnReply['handOuts']): void {
    const foretold = this.#foretold;
    this.#foretold = [];
    for (const { consumer, items } of handOuts) {
      const read = foretold.find((one) => one.items === items);
      this.#receivers.get(consumer)?.(read?.deliveries ?? items.map(deliveryOf));
    }
  }

  #read(handOuts: TurnReply['handOuts']): void {
    this.#foretold = handOuts.map(({ items }) => ({ items, deliveries: items.map(deliveryOf) }));
  }
}

/** How many of something, as people and programs ask for it: none for what is no number, all for infinity. */
function wholeCount(count: number): number {
  return Math.max(0, Math.min(Math.floor(count) || 0, Number.MAX_SAFE_INTEGER));
}
