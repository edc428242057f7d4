/**
 * Sends records and waits until all copies that have to have them do (`acks=all`), with an idempotent producer: what the client itself
 * sends again after a broken connection is stored once.
 *
 * One request per topic is under way at a time, and what comes meanwhile goes with the next one. That batches by load, without a
 * timer; and it keeps the order when a request has to be repeated, which several requests under way would not. `lingerMs` waits for more even so.
 */
import { type Clock, pause } from '../../clock.ts';
import type { MessagingError } from '../../errors.ts';
import { Farewell } from './farewell.ts';
import { faultOf } from './faults.ts';
import { heard } from './heard.ts';
import { clientOptions } from './link.ts';
import type { KafkaSettings } from './options.ts';
import { ParcelProducer } from './produce-request.ts';
import { type Parcel, sizeOf } from './wire.ts';

export interface Item {
  readonly partition: number;
  readonly parcel: Parcel;
}

interface Call {
  readonly isUrgent: boolean;
  readonly items: readonly Item[];
  readonly bytes: number;
  readonly resolve: (offsets: readonly number[]) => void;
  readonly reject: (error: Error) => void;
}

/** What waits for the next request of a topic. */
interface Lane {
  readonly queue: Call[];
  bytes: number;
  /** How many of them do not linger. */
  urgent: number;
  /** When the first of them came, on the monotonic clock, ms. */
  since: number;
  /** Ends the linger that is under way. */
  linger: AbortController | undefined;
}

/** The broker's limit (1 MiB by default) is for all records that go to a partition in one request. */
const REQUEST_BYTES = 900_000;
/** Of the broker's limit, for what a batch takes beside its messages. */
const SHARE_OF_LIMIT = 0.9;
/** Every message in a request of its own. */
const ALONE = 0;
const ACKS_ALL = -1;

export class Publisher {
  readonly #clock: Clock;
  readonly #producer: ParcelProducer;
  readonly #requestBytes: number;
  readonly #lingerMs: number;
  readonly #lanes = new Map<string, Lane>();
  #closing = false;

  /** `maxRecordBytes` is the broker's `message.max.bytes`. */
  constructor(settings: KafkaSettings, clock: Clock, maxRecordBytes: number) {
    this.#clock = clock;
    this.#lingerMs = settings.lingerMs;
    this.#requestBytes = Math.min(REQUEST_BYTES, Math.floor(maxRecordBytes * SHARE_OF_LIMIT));
    this.#producer = heard(
      new ParcelProducer({
        ...clientOptions(settings),
        idempotent: true,
        acks: ACKS_ALL,
        repeatOnStaleMetadata: true,
      }),
    );
  }

  /**
   * Resolves with the offset of each when all are stored. Rejects as one; then what was stored is unknown. `lingers`: it may wait for more, as what an application publishes
   * may; what the engine writes itself does not.
   */
  send(
    topic: string,
    items: readonly Item[],
    { lingers = false }: { readonly lingers?: boolean } = {},
  ): Promise<readonly number[]> {
    if (items.length === 0) return Promise.resolve([]);
    const known = this.#lanes.get(topic);
    const lane: Lane = known ?? { queue: [], bytes: 0, urgent: 0, since: 0, linger: undefined };
    const isUrgent = !lingers || this.#lingerMs === 0;
    let bytes = 0;
    for (const { parcel } of items) bytes += sizeOf(parcel);
    const sent = new Promise<readonly number[]>((resolve, reject) =>
      lane.queue.push({ isUrgent, items, bytes, resolve, reject }),
    );
    if (lane.queue.length === 1) lane.since = this.#clock.monotonic();
    lane.bytes += bytes;
    if (isUrgent) lane.urgent += 1;
    if (lane.linger && !this.#mayLinger(lane)) lane.linger.abort();
    if (!known) {
      this.#lanes.set(topic, lane);
      void this.#drain(topic, lane);
    }
    return sent;
  }

  async close(): Promise<void> {
    this.#closing = true;
    for (const { linger } of this.#lanes.values()) linger?.abort();
    // What was lingering is written before the client is told to end.
    await turn();
    await new Farewell(this.#clock).close(this.#producer);
  }

  async #drain(topic: string, lane: Lane): Promise<void> {
    // All that is published in this turn of the event loop goes together, also what those publish whose messages were just confirmed.
    for (await turn(); lane.queue.length > 0; await turn()) {
      if (this.#mayLinger(lane)) await this.#linger(lane);
      const calls = takeSome(lane.queue, this.#requestBytes);
      for (const { bytes, isUrgent } of calls) {
        lane.bytes -= bytes;
        if (isUrgent) lane.urgent -= 1;
      }
      // What did not fit keeps the time of the first: it lingers no longer than that one would have.
      await this.#sendOff(topic, calls);
    }
    // Reply topics come and go; a lane is cheap to make again.
    this.#lanes.delete(topic);
  }

  #mayLinger({ bytes, urgent }: Lane): boolean {
    return !this.#closing && urgent === 0 && bytes < this.#requestBytes;
  }

  /** Until the first has waited for `lingerMs`, or there is no reason to wait any more. */
  async #linger(lane: Lane): Promise<void> {
    const left = lane.since + this.#lingerMs - this.#clock.monotonic();
    if (left <= 0) return;
    lane.linger = new AbortController();
    await pause(this.#clock, left, lane.linger.signal);
    lane.linger = undefined;
  }

  /**
   * What is too large is told to its own publisher only. A topic may allow less than its broker does (`max.message.bytes`), and then a request of many
   * small messages is refused like one large message: so each goes once more by itself, in its order. What was stored of the request is stored twice then, by its one id.
   */
  async #sendOff(topic: string, calls: readonly Call[]): Promise<void> {
    const fault = await this.#deliver(topic, calls, this.#requestBytes);
    if (!fault) return;
    const isOne = calls.length === 1 && calls[0]?.items.length === 1;
    if (fault.code !== 'DB_MSG_MESSAGE_TOO_LARGE' || isOne)
      return calls.forEach(({ reject }) => reject(fault));
    for (const call of calls) {
      const own = await this.#deliver(topic, [call], ALONE);
      if (own) call.reject(own);
    }
  }

  /** In requests of at most so many bytes, or of one message each. Gives what went wrong. */
  async #deliver(
    topic: string,
    calls: readonly Call[],
    requestBytes: number,
  ): Promise<MessagingError | undefined> {
    try {
      await this.#store(topic, calls, requestBytes);
      return undefined;
    } catch (error) {
      return faultOf(error, `publishing to ${topic}`);
    }
  }

  async #store(topic: string, calls: readonly Call[], requestBytes: number): Promise<void> {
    const items = calls.length === 1 ? (calls[0] as Call).items : calls.flatMap((call) => call.items);
    const offsets: number[] = [];
    for (let from = 0; from < items.length; ) {
      const chunk = takeChunk(items, from, requestBytes);
      const bases = await this.#produce(topic, chunk);
      for (const { partition } of chunk) {
        const offset = bases.get(partition) ?? 0;
        offsets.push(offset);
        bases.set(partition, offset + 1);
      }
      from += chunk.length;
    }
    let at = 0;
    for (const { items: own, resolve } of calls) {
      resolve(offsets.slice(at, at + own.length));
      at += own.length;
    }
  }

  async #produce(topic: string, items: readonly Item[]): Promise<Map<number, number>> {
    const timestamp = BigInt(Math.floor(this.#clock.now()));
    const messages = items.map(({ partition, parcel }) => ({ topic, partition, value: parcel, timestamp }));
    const { offsets = [] } = await this.#producer.send({ messages });
    return new Map(offsets.map(({ partition, offset }) => [partition, Number(offset)]));
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** As many calls as fit into one request, at least one. */
function takeSome(queue: Call[], requestBytes: number): readonly Call[] {
  let count = 0;
  let bytes = 0;
  for (const call of queue) {
    bytes += call.bytes;
    if (count > 0 && bytes > requestBytes) break;
    count += 1;
  }
  return queue.splice(0, count);
}

function takeChunk(items: readonly Item[], from: number, requestBytes: number): readonly Item[] {
  let to = from;
  for (let bytes = 0; to < items.length; to += 1) {
    bytes += sizeOf((items[to] as Item).parcel);
    if (to > from && bytes > requestBytes) break;
  }
  return from === 0 && to === items.length ? items : items.slice(from, to);
}
