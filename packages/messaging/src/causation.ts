/**
 * Who caused whom: what a handler publishes belongs to the conversation of the message it handles. `context.publish` does it by itself;
 * `causedBy` is the same for what goes another way, an outbox or a later request.
 *
 * Explicit and not ambient: an AsyncLocalStorage would also mark what a handler only happens to start, and would cost every publish.
 */
import type { Channel, ChannelInput, PublishArguments } from './channel.ts';
import type { PublishConfirmation } from './engine.ts';
import type { Message } from './message.ts';
import { soundName } from './sound-text.ts';

export interface Causation {
  readonly correlationId: string;
  readonly causationId: string;
}

/** Options for what is published because of `message`: its conversation (its own id where it began one) and its id as the cause. */
export function causedBy({ id, correlationId }: Pick<Message, 'id' | 'correlationId'>): Causation {
  // Others may send what is refused to publishers here; a handler must not fail of it.
  const causationId = soundName(id);
  return { correlationId: (correlationId && soundName(correlationId)) || causationId, causationId };
}

/** `bus.publish` as a value. */
export type Publish = <C extends Channel>(
  channel: C,
  data: ChannelInput<C>,
  ...options: PublishArguments<C>
) => Promise<PublishConfirmation>;

/** The same, with the cause filled in; options that are given stand. */
export function publishCausedBy(message: Message, publish: Publish): Publish {
  const loose = publish as (channel: Channel, data: unknown, options: object) => Promise<PublishConfirmation>;
  return (channel, data, ...[options]) => loose(channel, data, { ...causedBy(message), ...options });
}
