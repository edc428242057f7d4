/** Answers of the brokers to the requests that are sent as they are; the client parses them and does not export their types. */
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
