/** What goes around a handler: each layer sees the message, may answer by itself, and calls `next` for what is inside. */
import type { Handler } from './subscribe-options.ts';
import type { Channel, ChannelData } from './channel.ts';
import type { Message } from './message.ts';
import type { Outcome } from './outcome.ts';
import type { HandlerContext } from './handler-context.ts';

export type Middleware<C extends Channel = Channel> = (
  message: Message<ChannelData<C>>,
  context: HandlerContext,
  next: () => Promise<Outcome>,
) => Promise<Outcome>;

/** The handler inside of its layers, the first one outermost. */
export function withMiddleware<C extends Channel>(
  handler: Handler<C>,
  layers: readonly Middleware<C>[],
): Handler<C> {
  return layers.reduceRight<Handler<C>>(
    (inner, layer) => (message, context) => layer(message, context, async () => inner(message, context)),
    handler,
  );
}
