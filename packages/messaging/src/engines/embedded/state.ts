/** What the writer holds in memory: logs, the cursors of subscriptions on them, consumers and their leases. What a position is stands in `schema.ts`. */
import type { RoutingKind } from '../../routing.ts';
import type { BindingRecord } from './bindings.ts';
import type { ReadAhead } from './read-ahead.ts';
import type { Statements } from './statements.ts';

export interface Log {
  readonly log: number;
  readonly channel: string;
  readonly level: number;
  /** First position a message of this log can have. */
  readonly base: number;
  /** Last position given out; `base - 1` while the log is empty. */
  head: number;
  /** Everything below is purged. */
  floor: number;
  /** How its channel routes: what is appended to a log of another kind than `fanout` carries its route. */
  routing: RoutingKind;
  /** Wall clock, ms: nothing of a channel with `keepMs` grows old enough to be purged before this time. */
  keptUntil: number;
}

export interface Cursor {
  readonly log: Log;
  next: number;
  flying: Set<number>;
  dirty: boolean;
  /** On channels with routing: what the subscription takes, by the position from which it holds, ascending. */
  bindings: readonly BindingRecord[];
  /** Messages from `next` on that it does not take: what waits is counted without them. */
  unbound: number;
}

export interface Lease {
  readonly consumer: Consumer;
  readonly token: number;
  /** Set when the message is in its log; else `number` is its deferred row. */
  readonly cursor: Cursor | undefined;
  readonly position: number;
  readonly number: number;
  readonly key: string | null;
  readonly inLane: boolean;
  until: number;
}

export interface Consumer {
  readonly id: number;
  readonly prefetch: number;
  readonly leaseMs: number;
  /** In the order of their ends, because an extended lease moves to the back. */
  leases: Map<number, Lease>;
  /** The token at which `leases` is made anew. */
  renewAt: number;
  paused: boolean;
  /** Set when its leave could not be stored: what it holds comes back as its leases end, counted so often, and then it is gone. */
  gone: 0 | 1 | undefined;
}

/** What the store lends to its subscriptions. */
export interface Turnstile {
  readonly sql: Statements;
  /** Wall clock, for due times and expiry. */
  now: number;
  /** Monotonic clock, for leases: a step of the wall clock must not end them. */
  monotonic: number;
  nextToken: number;
  readonly ahead: ReadAhead;
  /** Leases ended and begun in this turn, for its undoing. */
  readonly ended: Lease[];
  readonly begun: Lease[];
}

export interface MessageRow {
  readonly origin: number;
  readonly stored_at: number;
  readonly expires_at: number | null;
  readonly key: string | null;
  readonly body: string;
  readonly state: string | null;
  readonly abandoned: number;
}
