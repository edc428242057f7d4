/** Whether a filter means a dead letter: for engines whose store cannot ask that itself. */
import type { DeadLetterFilter, DeadLetterRecord } from './engine.ts';

export function isMeant(
  letter: Pick<DeadLetterRecord, 'channel' | 'subscription' | 'group' | 'key' | 'messageId' | 'parkedAt'>,
  { channel, subscription, group, key, messageIds, before }: DeadLetterFilter,
): boolean {
  return (
    (channel === undefined || letter.channel === channel) &&
    (subscription === undefined || letter.subscription === subscription) &&
    (group === undefined || letter.group === group) &&
    (key === undefined || letter.key === key) &&
    (before === undefined || letter.parkedAt < before) &&
    (messageIds === undefined || messageIds.includes(letter.messageId))
  );
}
