/**
 * What passes between the engine and its writer. A turn is a list of operations that become one transaction; the
 * writer holds no clock, so `now` comes with each turn and the answer says when the next one is wanted.
 */
import type {
  DeadLetterFilter,
  DeadLetterRecord,
  EngineView,
  ReplayPoint,
  Settlement,
  SettleResult,
  Topology,
} from '../../engine.ts';
import type { Durability } from '../../channel.ts';
import type { MessagingErrorCode } from '../../errors.ts';
import type { Message } from '../../message.ts';

export interface PublishRow {
  readonly channel: string;
  readonly level: number;
  readonly key: string | null;
  readonly expiresAt: number | null;
  readonly dueAt: number | null;
  readonly body: string;
}

export type Operation =
  | { readonly op: 'declare'; readonly topology: Topology }
  | { readonly op: 'publish'; readonly rows: readonly PublishRow[] }
  | {
      readonly op: 'subscribe';
      readonly consumer: number;
      readonly channel: string;
      readonly subscription: string;
      readonly prefetch: number;
      readonly leaseMs: number;
    }
  | { readonly op: 'settle'; readonly consumer: number; readonly settlements: readonly Settlement[] }
  | { readonly op: 'extend'; readonly consumer: number; readonly tokens: readonly number[] }
  | { readonly op: 'pause'; readonly consumer: number }
  | { readonly op: 'leave'; readonly consumer: number }
  /** The consumer is gone without a word: what it held counts as abandoned. */
  | { readonly op: 'lose'; readonly consumer: number }
  /** Ephemeral channels whose connection ended, with what is in them. */
  | { readonly op: 'drop'; readonly channels: readonly string[] }
  | { readonly op: 'inspect' }
  | { readonly op: 'peek'; readonly channel: string; readonly subscription: string; readonly limit: number }
  | {
      readonly op: 'rewind';
      readonly channel: string;
      readonly subscription: string;
      readonly from: ReplayPoint;
      readonly dryRun: boolean;
    }
  | {
      readonly op: 'listDead';
      readonly filter: DeadLetterFilter;
      readonly limit: number;
      readonly after: string | undefined;
    }
  | {
      readonly op: 'redriveEdited';
      readonly id: string;
      readonly body: string;
      readonly expiresAt: number | null;
      readonly state: string;
    }
  | { readonly op: 'redrive'; readonly filter: DeadLetterFilter; readonly limit: number }
  | { readonly op: 'discard'; readonly filter: DeadLetterFilter; readonly limit: number };

export interface PeekedRow {
  readonly offset: string;
  readonly body: string;
}

export interface MovedCount {
  readonly moved: number;
  readonly remaining: number;
}

/** The value of each operation, by its name. */
export interface OperationValue {
  declare: undefined;
  publish: undefined;
  subscribe: undefined;
  settle: readonly SettleResult[];
  extend: readonly SettleResult[];
  pause: undefined;
  leave: undefined;
  lose: undefined;
  drop: undefined;
  peek: readonly PeekedRow[];
  rewind: undefined;
  redriveEdited: boolean;
  inspect: Omit<EngineView, 'engine'>;
  listDead: readonly DeadLetterRecord[];
  redrive: MovedCount;
  discard: MovedCount;
}

/** Asks one operation of the writer. Rejects with what it was refused for, or DB_MSG_STOPPED after the end. */
export type Ask = <O extends Operation>(operation: O) => Promise<OperationValue[O['op']]>;

export interface Turn {
  /** ms since the epoch. */
  readonly now: number;
  /** Monotonic ms: leases are measured by it. */
  readonly monotonic: number;
  readonly operations: readonly Operation[];
}

export type OperationResult =
  | { readonly value: OperationValue[keyof OperationValue] }
  | { readonly error: { readonly code: MessagingErrorCode; readonly message: string } };

export interface HandOut {
  readonly token: number;
  readonly body: string;
  readonly state: string | null;
  readonly abandoned: number;
  /** In the writer's thread: its place among the bodies that were read ahead, if it was. */
  readonly place?: number | undefined;
  /** In this one: what its body was read as, if that came ahead. */
  readonly read?: ReadBody | undefined;
}

/** A body as a message; undefined with the reason where it is none. */
export interface ReadBody {
  readonly message: Message | undefined;
  readonly malformed?: string;
}

export interface TurnReply {
  /** One per operation, in order. */
  readonly results: readonly OperationResult[];
  readonly handOuts: readonly { readonly consumer: number; readonly items: readonly HandOut[] }[];
  /** ms since the epoch: when something falls due without anyone asking. */
  readonly nextDueAt: number | undefined;
  /** Monotonic ms: when the first lease ends. */
  readonly nextLeaseEnd: number | undefined;
  /** ms that the commit alone took; undefined where nobody looked (a writer without a clock, or one behind a socket). */
  readonly commitMs?: number | undefined;
}

/**
 * The one writer of the store. Turns are decided one after the other in the order of the calls, and `run` resolves
 * only after its commit. It rejects only when the store is lost for good.
 */
export interface Writer {
  /** What a commit of this writer means; of a shared file it is what the present host says. */
  readonly durability: Durability;
  /** Set when other processes use the writer too: what its host allows. */
  readonly shared?: { readonly maxMessageBytes: number };
  run(turn: Turn): Promise<TurnReply>;
  /** Where hand-outs also come without a turn of this caller's, for instance from a writer that others use too. Called once, before any turn. */
  listen?(receive: (handOuts: TurnReply['handOuts']) => void): void;
  /**
   * Where hand-outs are told while the turn that makes them is still being committed, so that they can be read meanwhile. They count only when the answer of the turn
   * brings them, the same lists; else the turn was undone. Called once, before any turn.
   */
  foretell?(read: (handOuts: TurnReply['handOuts']) => void): void;
  /**
   * Where bodies come ahead of any turn that hands them out, to be read by then. They are nobody's: most are handed out with what was read of them (`HandOut.read`), some
   * never. Called once, before any turn.
   */
  readAhead?(read: (body: string) => ReadBody): void;
  close(): Promise<void>;
}
