/** Answers of the brokers to the requests that are sent as they are; the client parses them and does not export their types. */
import type { RecordsBatch } from '@platformatic/kafka';

export interface FetchAnswer {
  readonly responses: readonly {
    readonly topicId: string;
    readonly partitions: readonly FetchedPartition[];
  }[];
}

export interface FetchedPartition {
  readonly partitionIndex: number;
  readonly errorCode: number;
  readonly highWatermark: bigint;
  readonly lastStableOffset: bigint;
  readonly logStartOffset: bigint;
  readonly abortedTransactions:
    | readonly { readonly producerId: bigint; readonly firstOffset: bigint }[]
    | null;
  readonly records?: readonly RecordsBatch[] | null;
}

export interface CommittedAnswer {
  readonly groups: readonly {
    readonly topics: readonly {
      readonly name: string;
      readonly partitions: readonly {
        readonly partitionIndex: number;
        readonly committedOffset: bigint;
        readonly metadata: string | null;
      }[];
    }[];
  }[];
}

export interface VersionsAnswer {
  readonly finalizedFeatures?: readonly { readonly name: string; readonly maxVersionLevel: number }[];
}
