/**
 * The port of sight: what the bus tells of what it does, in the places where a tracer or a meter wants to stand. Each operation is
 * wrapped, so that an implementation can make its span the active one; what it returns or throws has to pass through untouched.
 *
 * Without telemetry the bus takes none of these ways and allocates nothing for them. `telemetry/open-telemetry.ts` is the
 * implementation; this file knows no vendor.
 */
import type { EngineView, OutgoingMessage, ServerAddress, Settlement, SettleResult } from './engine.ts';
import type { Message } from './message.ts';
import type { Outcome } from './outcome.ts';

export interface Telemetry {
  /** Called once per bus, when it is made. */
  attach(bus: ObservedBus): BusTelemetry;
}

export interface ObservedBus {
  /** Name of the engine: `embedded`, `rabbitmq`. */
  readonly engine: string;
  readonly source: string;
  /** Undefined without a server, and where several addresses were named. */
  readonly server: ServerAddress | undefined;
  /** The server's own name for those that share a subscription; undefined where it knows no groups of consumers. */
  readonly consumerGroupOf: (place: ConsumingPlace) => string | undefined;
  /** Backlog, for gauges; undefined while the bus is not running. */
  readonly view: () => Promise<EngineView | undefined>;
}

export interface BusTelemetry {
  /**
   * Around one publish. `send` takes the messages that go out, which may carry another `traceparent`; they have to stay as many and in
   * order. `temporary`: a reply, whose destination is one of many short-lived ones.
   */
  publish<T>(
    batch: readonly OutgoingMessage[],
    temporary: boolean,
    send: (batch: readonly OutgoingMessage[]) => Promise<T>,
  ): Promise<T>;
  /** Around one call of a handler, with one message or a batch. Rejects when the handler threw. */
  process(
    handOut: HandOut,
    handle: () => readonly Outcome[] | Promise<readonly Outcome[]>,
  ): Promise<readonly Outcome[]>;
  /** Around one settlement of many messages. */
  settle(
    settling: Settling,
    settle: () => Promise<readonly SettleResult[]>,
  ): Promise<readonly SettleResult[]>;
  /** A message failed and is tried again, or will never be. Called before the settlement; what it throws is logged. */
  failed(failure: Failure): void;
  /** The bus runs: backlog may be watched until `stopped`. */
  started(): void;
  stopped(): void;
}

export interface ConsumingPlace {
  readonly channel: string;
  readonly subscription: string;
}

export interface HandOut extends ConsumingPlace {
  readonly messages: readonly Message[];
  /** 1 for a first attempt; one per message. */
  readonly attempts: readonly number[];
  /** The subscription takes batches, also when this one holds a single message. */
  readonly batched: boolean;
}

export interface Settling extends ConsumingPlace {
  readonly settlements: readonly Settlement[];
  /** One per settlement; undefined for what was never a message. */
  readonly messages: readonly (Message | undefined)[];
}

export interface Failure extends ConsumingPlace {
  readonly message: Message | undefined;
  readonly outcome: 'retry' | 'deadLetter';
  /** How the last attempt ended: `threw`, `retry`, `deadLetter`, `abandoned`, `malformed`, `invalid`. */
  readonly kind: string;
  readonly reason: string;
}
