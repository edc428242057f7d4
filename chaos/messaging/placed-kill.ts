/**
 * The handlers of workers that are killed at a chosen moment. A kill at random meets the moment between the work and its acknowledgement only now and then, so a
 * control that waits for one shows nothing on a bad day. These come to that moment with their first batch, say so on the channel of their process, and do
 * nothing more: the SIGKILL still comes from outside.
 *
 *   without-inbox       the work is committed, nothing is acknowledged: everything of the batch has to come again, and is done again
 *   acknowledge-first   everything is acknowledged, and the server has it; the work is not done: nobody will ever do it
 */
import { ack, type Outcome } from '@doorbuster/messaging';
import type { Mode, Tick } from './part.ts';

export const atThePoint = 'at the point';

/** `leave` resolves when the server has every acknowledgement. */
export function stoppingWhereItHarms(
  mode: Mode,
  record: (messages: readonly Tick[]) => void,
  leave: () => Promise<void>,
): (messages: readonly Tick[]) => Promise<readonly Outcome[]> {
  const never = new Promise<never>(() => {});
  const tell = (): void => void process.send?.(atThePoint);
  let left = false;
  return async (messages) => {
    if (mode !== 'acknowledge-first') {
      record(messages);
      tell();
      return await never;
    }
    if (!left) void leave().then(tell);
    left = true;
    return messages.map(() => ack());
  };
}
