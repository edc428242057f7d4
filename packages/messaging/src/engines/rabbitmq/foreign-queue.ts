/**
 * Whether a queue of somebody else survives a restart. A passive declare does not tell: it answers alike for both. So the queue is declared as what it may not be, not durable and with a time to live of
 * nothing, which the broker has to refuse (406), and the refusal says in what the queue is different. Where there is no such queue the same declare is refused for its time to live, so
 * it can make none, whatever happens between two requests. The broker writes each refusal to its log.
 */
import type { ChannelModel } from 'amqplib';
import { onChannels } from './channels.ts';

const PRECONDITION_FAILED = 406;
const ACCESS_REFUSED = 403;
const IMPOSSIBLE = { durable: false, arguments: { 'x-expires': 0 } };
const IS_DURABLE = /inequivalent arg 'durable' for queue .*received 'false' but current is 'true'/;
const IS_OTHERWISE_DIFFERENT = /inequivalent arg 'x-expires' for queue /;

/** Undefined where the broker does not say: this user may not declare it (`configure`), or it uses other words. Rejects with the broker's 404 where there is none. */
export async function askWhetherDurable(model: ChannelModel, queue: string): Promise<boolean | undefined> {
  await onChannels(model, 1, ([channel]) => channel.checkQueue(queue));
  try {
    await onChannels(model, 1, ([channel]) => channel.assertQueue(queue, IMPOSSIBLE));
    return undefined;
  } catch (error) {
    return durableBy(error);
  }
}

/** What a refusal says. Only its own words count: that a queue is durable is never concluded from something else. Throws what is no such refusal. */
export function durableBy(error: unknown): boolean | undefined {
  const { code, message } = error as { readonly code?: unknown; readonly message: string };
  if (code === ACCESS_REFUSED) return undefined;
  if (code !== PRECONDITION_FAILED) throw error;
  if (IS_DURABLE.test(message)) return true;
  return IS_OTHERWISE_DIFFERENT.test(message) ? false : undefined;
}
