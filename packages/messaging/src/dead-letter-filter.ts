/** Whether a filter means a dead letter: for engines whose store cannot ask that itself. */
import type { DeadLetterFilter, DeadLetterRecord } from './engine.ts';
import { MessagingError } from './errors.ts';
import { refuseBadNumbers, TIME } from './sound-numbers.ts';

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

/** The types refuse these already; JavaScript does not, and a store may fail of what it cannot bind. Throws DB_MSG_INVALID_OPTIONS. */
export function refuseBadFilter(filter: DeadLetterFilter): void {
  if (typeof filter !== 'object' || filter === null) throw invalid('a filter is an object');
  for (const name of ['channel', 'subscription', 'group', 'key'] as const)
    if (filter[name] !== undefined && typeof filter[name] !== 'string')
      throw invalid(`${name} of a filter is a text`);
  const { messageIds, before } = filter;
  const areTexts = Array.isArray(messageIds) && messageIds.every((one) => typeof one === 'string');
  if (messageIds !== undefined && !areTexts) throw invalid('messageIds of a filter are a list of texts');
  if (before !== undefined) refuseBadNumbers('a filter', { before }, { before: TIME });
}

/** Throws DB_MSG_INVALID_OPTIONS. */
export function refuseBadLimit(limit: number): void {
  refuseBadNumbers('dead letters', { limit }, { limit: { from: 0, whole: true } });
}

function invalid(detail: string): MessagingError {
  return new MessagingError('DB_MSG_INVALID_OPTIONS', detail);
}
