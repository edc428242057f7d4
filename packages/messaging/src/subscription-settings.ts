/** What a subscriber said, checked and with its defaults, as the running subscription takes it. */
import { retriesOf } from './attempts.ts';
import type { BatchSubscribeOptions, Handler, SubscribeOptions } from './subscribe-options.ts';
import type { Channel } from './channel.ts';
import { MessagingError } from './errors.ts';
import type { HandlerContext } from './handler-context.ts';
import type { Message } from './message.ts';
import { type Middleware, withMiddleware } from './middleware.ts';
import { isPromise, type Outcome } from './outcome.ts';
import { within } from './sound-numbers.ts';
import { faultOfText } from './sound-text.ts';
import { bindingsOf } from './specs.ts';
import type { SubscriptionSettings } from './subscription.ts';

const DEFAULT_LEASE_MS = 30_000;
const WHAT = 'a subscription';

/** What the bus lends its subscriptions. */
type OfTheBus = Pick<SubscriptionSettings, 'randomness' | 'sendReply' | 'publish'>;

/** Throws DB_MSG_INVALID_OPTIONS. */
export function settingsOf<C extends Channel>(
  channel: C,
  options: BatchSubscribeOptions<C> | SubscribeOptions<C>,
  ofTheBus: OfTheBus,
): SubscriptionSettings {
  refuseBadName(options.name);
  const concurrency = within(WHAT, 'concurrency', options.concurrency ?? 1, 1, 1_000);
  const batched = 'batch' in options && options.batch !== undefined;
  const batchMax = !batched ? 1 : within(WHAT, 'batch.max', options.batch.max, 1, 2_000);
  // Left out silently they would be a rate cap, or a breaker, that nobody has.
  const layers = (options.middleware ?? []) as readonly Middleware<Channel>[];
  if (batched && layers.length > 0)
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      `${WHAT} has a batch or middleware, not both: a layer goes around one message`,
    );
  const handler = options.handler as unknown as (
    messages: unknown,
    contexts: unknown,
  ) => Outcome | readonly Outcome[] | Promise<Outcome & readonly Outcome[]>;
  const one = withMiddleware(handler as Handler<Channel>, layers);
  const single: SubscriptionSettings['handle'] = (messages, contexts) => {
    const outcome = one(messages[0] as Message<never>, contexts[0] as HandlerContext);
    return isPromise(outcome) ? outcome.then((settled) => [settled]) : [outcome];
  };
  return {
    channel,
    name: options.name,
    concurrency,
    batchMax,
    batched,
    // Twice what the handlers hold, so that the next is here when one ends.
    prefetch: concurrency * batchMax * 2,
    leaseMs: within(WHAT, 'leaseMs', options.leaseMs ?? DEFAULT_LEASE_MS, 30, 86_400_000),
    retries: retriesOf(options.retries),
    bindings: bindingsOf(channel, options.bindings),
    handleOne: batched ? undefined : (one as unknown as SubscriptionSettings['handleOne']),
    handle: !batched ? single : (handler as unknown as SubscriptionSettings['handle']),
    ...ofTheBus,
  };
}

export function refuseBadName(name: string): void {
  if (faultOfText(name) !== undefined || name.length > 200)
    throw new MessagingError(
      'DB_MSG_INVALID_OPTIONS',
      'a subscription has a name of 1 to 200 characters without lone surrogates and U+0000',
    );
}
