/**
 * What connections of one prefix tell each other, over a fanout exchange. Nothing is lost with a hint about members: it only makes others look sooner. Who does not hear that letters were discarded holds
 * their keys until the next discard, or until the partition is opened anew.
 */
import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib';
import { type Clock, pause } from '../../clock.ts';
import { MessagingError } from '../../errors.ts';
import { leaveWill } from './last-will.ts';
import type { MemberHint } from './members.ts';
import type { Names } from './names.ts';
import { areTexts, fieldsOf, readJson } from './read-json.ts';
import type { Parcel } from './wire.ts';

interface Place {
  readonly channel: string;
  readonly subscription: string;
}

export type Hint =
  /** Dead letters were taken away: what they held may go on. */
  | ({ readonly kind: 'discarded' } & Place)
  | (MemberHint & Place)
  /** The connection with this queue is gone, as its last will says. */
  | { readonly kind: 'ended'; readonly queue: string };

export interface HintParts {
  readonly clock: Clock;
  readonly names: Names;
  readonly publish: (exchange: string, routingKey: string, parcel: Parcel) => Promise<void>;
  readonly onDeclared: (what: 'queue' | 'exchange', name: string) => void;
  readonly onHint: (hint: Hint) => void;
  /** A hint that nobody makes up for could not be given. */
  readonly onTrouble: (error: unknown) => void;
}

/** Somebody waits for it. */
const LONGEST_TELLING_MS = 2_000;
const TELL_AGAIN_MS = 200;

export class Hints {
  readonly #parts: HintParts;
  #model: ChannelModel | undefined;
  #will: Promise<Channel> | undefined;
  #owesWill = false;
  #queue = '';

  constructor(parts: HintParts) {
    this.#parts = parts;
  }

  /** Of this connection alone, and gone with it: others tell by it that we are gone. */
  get queue(): string {
    return this.#queue;
  }

  async listen(model: ChannelModel): Promise<void> {
    const { names, onDeclared, onHint } = this.#parts;
    const channel = await model.createChannel();
    channel.on('error', () => {});
    await channel.assertExchange(names.hints, 'fanout', { durable: true });
    onDeclared('exchange', names.hints);
    const { queue } = await channel.assertQueue('', { exclusive: true, durable: false });
    this.#queue = queue;
    this.#model = model;
    this.#will = undefined;
    this.#owesWill = false;
    await channel.bindQueue(queue, names.hints, '');
    await channel.consume(
      queue,
      (message) => {
        const hint = message && decodeHint(message);
        if (hint) onHint(hint);
      },
      { noAck: true },
    );
  }

  /** For whoever has something that others should take over; once for each connection. */
  async leaveWill(): Promise<void> {
    if (!this.#model) return;
    this.#will ??= this.#keepWill(this.#model);
    const will = this.#will;
    try {
      await will;
    } catch (error) {
      // Whoever asks next leaves it anew.
      if (this.#will === will) this.#will = undefined;
      // It could not be published: the others are left with their pings until a channel is opened for that, or an alarm is over.
      if (!(error instanceof MessagingError && error.retryable)) throw error;
      this.#owesWill = true;
    }
  }

  /** It may be published now. */
  leaveOwedWill(): void {
    if (!this.#owesWill) return;
    this.#owesWill = false;
    this.leaveWill().catch(() => {});
  }

  /**
   * The broker closes its channel when the will has been lent for longer than `consumer_timeout`: it is carried out, which only makes others ask, and has to be left anew.
   * Where that fails they are left with their pings.
   */
  async #keepWill(model: ChannelModel): Promise<Channel> {
    const { names, clock, publish, onDeclared } = this.#parts;
    const queue = names.will(this.#queue);
    const channel = await leaveWill(model, {
      queue,
      exchange: names.hints,
      parcel: hintParcel({ kind: 'ended', queue: this.#queue }),
      clock,
      publish,
    });
    onDeclared('queue', queue);
    channel.on('close', () => {
      if (this.#model !== model) return;
      this.#will = undefined;
      this.leaveWill().catch(() => {});
    });
    return channel;
  }

  async tellDiscarded(place: Place): Promise<void> {
    const { clock, names, publish, onTrouble } = this.#parts;
    const parcel = hintParcel({ kind: 'discarded', ...place });
    const end = clock.monotonic() + LONGEST_TELLING_MS;
    for (;;)
      try {
        return await publish(names.hints, '', parcel);
      } catch (error) {
        if (clock.monotonic() + TELL_AGAIN_MS > end) return onTrouble(error);
        await pause(clock, TELL_AGAIN_MS);
      }
  }

  /** Undefined in `to`: to all. False: its queue is not there. */
  async tellMembers({ channel, subscription, kind, member }: MemberHint & Place, to: string | undefined) {
    const { names, publish } = this.#parts;
    const [exchange, routingKey] = to === undefined ? [names.hints, ''] : ['', to.split('#')[0] ?? ''];
    try {
      await publish(exchange, routingKey, hintParcel({ channel, subscription, kind, member }));
      return true;
    } catch (error) {
      if (error instanceof MessagingError && error.code === 'DB_MSG_UNROUTABLE') return false;
      throw error;
    }
  }

  /** Who leaves in order has said so, and leaves no will behind. */
  async close(): Promise<void> {
    this.#model = undefined;
    const will = await this.#will?.catch(() => undefined);
    await will?.deleteQueue(this.#parts.names.will(this.#queue)).catch(() => {});
  }
}

const FIELDS: Readonly<Record<Hint['kind'], readonly string[]>> = {
  discarded: ['channel', 'subscription'],
  here: ['channel', 'subscription', 'member'],
  gone: ['channel', 'subscription', 'member'],
  ended: ['queue'],
};

/** Undefined for what is no hint of ours: it is passed over, as one that got lost. Thrown here, it would end the process. */
export function decodeHint({ content }: ConsumeMessage): Hint | undefined {
  const found = readJson(content);
  const fields = fieldsOf(found);
  const { kind } = fields;
  const isKnown = typeof kind === 'string' && Object.hasOwn(FIELDS, kind);
  return isKnown && areTexts(fields, ...FIELDS[kind as Hint['kind']]) ? (found as Hint) : undefined;
}

function hintParcel(hint: Hint): Parcel {
  return { content: Buffer.from(JSON.stringify(hint)), options: { contentType: 'application/json' } };
}
