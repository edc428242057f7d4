/**
 * The client's producer, with a request of our own: it keeps the producer id and the sequences, finds the leaders and repeats what failed; what a
 * request holds is written by `record-batch.ts`. So its messages carry a whole parcel as their value, which the client hands through untouched.
 *
 * Versions 9 to 11 have the same request and are what brokers from 2.4 on speak; what is older is refused (fetching asks for more anyway).
 */
import {
  type API,
  type Callback,
  createAPI,
  kGetApi,
  Producer,
  produceV10,
  produceV11,
  produceV9,
  Writer,
} from '@platformatic/kafka';
import { MessagingError } from '../../errors.ts';
import { writeBatch } from './record-batch.ts';
import type { Parcel } from './wire.ts';

/** A message as the client hands it to the request. */
interface Sent {
  readonly topic: string;
  readonly partition: number;
  readonly value: Parcel;
  readonly timestamp: bigint;
}

/** What the client knows beside the messages. An idempotent producer gives all of it; only a test's control asks for one that is not. */
interface SendOptions {
  readonly producerId?: bigint;
  readonly producerEpoch?: number;
  readonly sequences?: { getWithDefault(place: string, otherwise: number): number };
}

const PRODUCE = 0;
const apis = new Map(
  Object.entries({ 9: produceV9, 10: produceV10, 11: produceV11 }).map(([version, { parseResponse }]) => [
    Number(version),
    createAPI(PRODUCE, Number(version), requestOf, parseResponse as typeof produceV11.parseResponse),
  ]),
);

function requestOf(acks: number, timeoutMs: number, messages: readonly Sent[], options: SendOptions): Writer {
  const topics = [...Map.groupBy(messages, ({ topic }) => topic)];
  return Writer.create()
    .appendString(null)
    .appendInt16(acks)
    .appendInt32(timeoutMs)
    .appendArray(topics, (writer, [topic, sent]) => {
      const partitions = [...Map.groupBy(sent, ({ partition }) => partition)];
      writer.appendString(topic).appendArray(partitions, (inner, [partition, own]) => {
        const batch = writeBatch(
          own.map(({ value }) => value),
          {
            timestamp: (own[0] as Sent).timestamp,
            producerId: options.producerId ?? -1n,
            producerEpoch: options.producerEpoch ?? -1,
            firstSequence: options.sequences?.getWithDefault(`${topic}:${partition}`, 0) ?? -1,
          },
        );
        inner
          .appendInt32(partition)
          .appendUnsignedVarInt(batch.length + 1)
          .append(batch);
      });
    })
    .appendTaggedFields();
}

export class ParcelProducer extends Producer<Parcel, Parcel, Parcel, Parcel> {
  override [kGetApi]<A extends unknown[], R>(name: string, done: Callback<API<A, R>>): void {
    super[kGetApi]<A, R>(name, (error, api) => {
      if (error || name !== 'Produce' || !api) return done(error, api);
      const own = apis.get(api.version) as unknown as API<A, R> | undefined;
      if (own) return done(null, own);
      done(
        new MessagingError(
          'DB_MSG_ENGINE_REFUSED',
          `publishing by version ${api.version} is not known here; 9 to 11 are, which Kafka speaks since 2.4`,
        ),
      );
    });
  }
}
