/**
 * The handlers of workers that are killed at a chosen moment. A kill at random meets the moment between the work and its acknowledgement only now and then, so a
 * control that waits for one shows nothing on a bad day. These come to that moment with their first batch, say so on the channel of their process, and do
 * nothing more: the SIGKILL still comes from outside.
 *
 *   without-inbox       the work is committed, nothing is acknowledged: everything of the batch has to come again, and is done again
 *   acknowledge-first   everything is acknowledged, and the server has it; the work is not done: nobody will ever do it
 *   work-later          a batch is acknowledged and its work left for later, which is when that of a later message of one of its keys is done
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
  if (mode === 'work-later') return workingLater(record, () => void leave().then(tell));
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

/**
 * It is alone, so whatever comes behind the batch that it holds comes to it. It is killed when the server has every acknowledgement: what came again to the
 * next one would be no first effect, and the batch that that one holds would show nothing.
 */
function workingLater(
  record: (messages: readonly Tick[]) => void,
  leave: () => void,
): (messages: readonly Tick[]) => Promise<readonly Outcome[]> {
  let held: readonly Tick[] | undefined;
  let isDone = false;
  return async (messages) => {
    if (held === undefined) {
      held = messages;
      return messages.map(() => ack());
    }
    record(messages);
    const keys = new Set(held.map(({ data }) => data.key));
    if (!isDone && messages.some(({ data }) => keys.has(data.key))) {
      isDone = true;
      record(held);
      leave();
    }
    return messages.map(() => ack());
  };
}
