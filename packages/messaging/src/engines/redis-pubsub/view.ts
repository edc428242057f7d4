/** Counts for people: of this process, because nobody knows what the others hear. */
import type { ChannelView } from '../../engine.ts';
import type { Listener } from './consumer.ts';

export const viewChannels = (
  names: readonly string[],
  listeners: readonly Listener[],
): readonly ChannelView[] =>
  names.map((name) => ({
    name,
    // There is no delay that a message could be published with.
    scheduled: 0,
    subscriptions: listeners.filter(({ spec }) => spec.channel === name).map((one) => one.view()),
  }));
