/**
 * The names of reply channels: one per bus, made at its first request and gone with it. The names are reserved, because a request says where its
 * reply goes: by them alone a publisher cannot make a handler write into a channel that somebody reads.
 */
import { causedBy } from './causation.ts';
import type { Channel } from './channel.ts';
import { MessagingError } from './errors.ts';
import { copyOfJson } from './later-check.ts';
import type { Message } from './message.ts';
import type { MessageParts } from './outgoing.ts';

const PREFIX = 'replies.';
const SHAPE = /^replies\.[\w.:-]{1,200}$/;

export function replyChannelOf(id: string): string {
  return `${PREFIX}${id}`;
}

/** Whether the toolkit makes such channels for replies. */
export function isReplyChannel(name: string): boolean {
  return SHAPE.test(name);
}

/** Whether a channel of an application may not be called so. */
export function isReservedForReplies(name: string): boolean {
  return name.startsWith(PREFIX);
}

/** What answers `request` with `data`, which has to fit the reply's contract: rejects with DB_MSG_INVALID_DATA. */
export async function makeReply(
  { ids, clock, source }: MessageParts,
  request: Message,
  channel: Channel | undefined,
  data: unknown,
): Promise<Message> {
  let told = data;
  let fault = channel?.checkReply?.(data);
  if (channel?.checkReply && fault instanceof Promise) {
    told = copyOfJson(data);
    fault = await channel.checkReply(told);
  }
  if (fault !== undefined)
    throw new MessagingError('DB_MSG_INVALID_DATA', `reply on "${channel?.name}": ${fault}`);
  return {
    id: ids.next(),
    type: `${request.type}.reply`,
    version: channel?.version ?? 1,
    source,
    time: new Date(clock.now()).toISOString(),
    data: told,
    ...causedBy(request),
    headers: {},
  };
}
