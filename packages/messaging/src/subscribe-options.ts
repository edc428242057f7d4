/** What an application gives when it subscribes: its handler, of one message or of a batch, and how it is to be called. */
import type { RetryPolicy } from './attempts.ts';
import type { BindingsOption, Channel, ChannelData } from './channel.ts';
import type { HandlerContext } from './handler-context.ts';
import type { Message } from './message.ts';
import type { Middleware } from './middleware.ts';
import type { Outcome } from './outcome.ts';

export type Handler<C extends Channel> = (
  message: Message<ChannelData<C>>,
  context: HandlerContext,
) => Outcome | Promise<Outcome>;
/** Gets messages in the order they were handed out and returns one outcome for each, in the same order. A throw fails all. */
export type BatchHandler<C extends Channel> = (
  messages: readonly Message<ChannelData<C>>[],
  contexts: readonly HandlerContext[],
) => readonly Outcome[] | Promise<readonly Outcome[]>;

interface CommonSubscribeOptions {
  /**
   * Durable: subscriptions of one name compete, also within one process, where each message goes to one of their handlers; different names
   * each get every message.
   */
  readonly name: string;
  /** Handlers at the same time, 1 to 1,000. Default 1. */
  readonly concurrency?: number;
  readonly retries?: RetryPolicy;
  /** Time without a heartbeat after which a message is handed to another, ms; the bus beats every third. Default 30,000. */
  readonly leaseMs?: number;
}

export type SubscribeOptions<C extends Channel> = CommonSubscribeOptions &
  BindingsOption<C> & {
    readonly handler: Handler<C>;
    /** Around each call of the handler, the first one outermost: a rate cap, a bulkhead, a circuit breaker, your own. */
    readonly middleware?: readonly Middleware<NoInfer<C>>[];
    readonly batch?: undefined;
  };

export type BatchSubscribeOptions<C extends Channel> = CommonSubscribeOptions &
  BindingsOption<C> & {
    /** As soon as a handler is free it gets all that is there, at most `max` (1 to 2,000). There is no waiting for a batch to fill. */
    readonly batch: { readonly max: number };
    readonly handler: BatchHandler<C>;
    readonly middleware?: undefined;
  };
