/** What the crowd's process is told (lines of JSON on its stdin) and what it tells (lines on its stdout). */

/** What it does at the moment of its n-th acknowledgement: it sees that moment first. */
export interface Blow {
  readonly afterAcknowledged: number;
  /** `arm` lets the failpoint of the server strike from now on. */
  readonly act: 'kill' | 'stop' | 'arm';
  readonly pid: number;
  readonly armFile: string;
}

export interface EnterOrder {
  readonly order: 'enter';
  readonly url: string;
  readonly campaignId: string;
  readonly tokenSecret: string;
  readonly intake: 'direct' | 'queued';
  readonly members: number;
  readonly seed: number;
  readonly connections: number;
  /** Members arrive over about this time, ms. */
  readonly spreadMs: number;
  readonly body: string;
  readonly blow: Blow;
}

export type CrowdOrder =
  | EnterOrder
  /** The server is reached here now. */
  | { readonly order: 'url'; readonly url: string }
  /** Everybody comes once more, and learns the verdict where it was not in the answer; then all answers are written to the file. */
  | { readonly order: 'return'; readonly answersFile: string };

export type CrowdReport =
  | { readonly told: 'acknowledged'; readonly count: number }
  | { readonly told: 'struck'; readonly at: number }
  | { readonly told: 'entered' }
  | {
      readonly told: 'returned';
      readonly statuses: Readonly<Record<string, number>>;
      readonly unanswered: number;
      readonly hungUp: number;
      readonly faults: readonly string[];
      /** By member: when the first request left, ms since the epoch. Also one that was never answered. */
      readonly firstSentAt: readonly number[];
    };
