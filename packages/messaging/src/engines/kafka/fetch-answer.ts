/**
 * The answer to a fetch, as far as this engine looks at it: the client's own parser takes every record apart at once (see `log-record.ts`). Written for
 * versions 13 to 17, which have the same answer; brokers from 3.1 on speak one of them, and what is older is refused.
 */
import {
  type API,
  createAPI,
  fetchV13,
  fetchV14,
  fetchV15,
  fetchV16,
  fetchV17,
  readKnownTaggedFields,
  type Reader,
  ResponseError,
} from '@platformatic/kafka';
import { MessagingError } from '../../errors.ts';
import { readBatches, type RecordBatch, recordBytes } from './log-record.ts';

export interface FetchAnswer {
  readonly topics: readonly { readonly topicId: string; readonly partitions: readonly FetchedPartition[] }[];
}

export interface FetchedPartition {
  readonly partition: number;
  readonly errorCode: number;
  readonly highWatermark: number;
  readonly lastStableOffset: number;
  readonly logStartOffset: number;
  readonly aborted: readonly { readonly producerId: bigint; readonly firstOffset: number }[];
  readonly batches: readonly RecordBatch[];
}

export interface FetchTopic {
  readonly topicId: string;
  readonly partitions: {
    readonly partition: number;
    readonly fetchOffset: bigint;
    readonly partitionMaxBytes: number;
    readonly currentLeaderEpoch: number;
    readonly lastFetchedEpoch: number;
  }[];
}

export type FetchArguments = [number, number, number, number, number, number, FetchTopic[], never[], string];

const FETCH = 1;
const requests = {
  13: fetchV13.createRequest,
  14: fetchV14.createRequest,
  15: fetchV15.createRequest,
  16: fetchV16.createRequest,
  17: fetchV17.createRequest,
};
const apis = new Map(
  Object.entries(requests).map(([version, createRequest]) => [
    Number(version),
    createAPI<FetchArguments, FetchAnswer>(
      FETCH,
      Number(version),
      createRequest,
      (_id, _key, spoken, reader) => readAnswer(reader, spoken),
    ),
  ]),
);

/** What sends the request in the version that was agreed on, and reads its answer. */
export function fetchApi({ version }: { readonly version: number }): API<FetchArguments, FetchAnswer> {
  const api = apis.get(version);
  if (api) return api;
  throw new MessagingError(
    'DB_MSG_ENGINE_REFUSED',
    `fetching by version ${version} is not known here; 13 to 17 are, which Kafka speaks since 3.1`,
  );
}

function readAnswer(reader: Reader, version: number): FetchAnswer {
  reader.readInt32(); // how long the broker held it back
  const errorCode = reader.readInt16();
  if (errorCode !== 0) throw new ResponseError(FETCH, version, { '': [errorCode, null] }, {});
  reader.readInt32(); // the session, which is none
  const topics = reader.readArray((topic) => ({
    topicId: topic.readUUID(),
    partitions: topic.readArray(readPartition, true, false),
  }));
  return { topics };
}

function readPartition(reader: Reader): FetchedPartition {
  const head = {
    partition: reader.readInt32(),
    errorCode: reader.readInt16(),
    highWatermark: Number(reader.readInt64()),
    lastStableOffset: Number(reader.readInt64()),
    logStartOffset: Number(reader.readInt64()),
    aborted:
      reader.readNullableArray((one) => ({
        producerId: one.readInt64(),
        firstOffset: Number(one.readInt64()),
      })) ?? [],
  };
  reader.readInt32(); // a nearer replica
  const size = reader.readUnsignedVarInt() - 1;
  const batches = size > 0 ? readBatches(recordBytes(reader, size)) : [];
  readKnownTaggedFields(reader, {});
  return { ...head, batches };
}
