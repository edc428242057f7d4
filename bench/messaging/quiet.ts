/**
 * Waits until the machine rests. What a server still does behind what was stored, or behind the queue of the side before that was deleted, takes up to a third of the rate of
 * whoever is measured meanwhile.
 */
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

const LOOK_MS = 250;
const QUIET_LOOKS = 3;
/** Of all processors together. */
const QUIET_SHARE = 0.1;

/** Milliseconds of all processors since the machine started. */
function times(): { readonly busy: number; readonly all: number } {
  let [busy, all] = [0, 0];
  for (const { times: one } of cpus()) {
    const sum = one.user + one.nice + one.sys + one.idle + one.irq;
    all += sum;
    busy += sum - one.idle;
  }
  return { busy, all };
}

/** Resolves to true when all processors together have been less than a tenth busy for three looks in a row, and to false after `longestMs` on a machine that does not rest. */
export async function quiet(longestMs: number): Promise<boolean> {
  const end = performance.now() + longestMs;
  let before = times();
  let looks = 0;
  while (looks < QUIET_LOOKS && performance.now() < end) {
    await sleep(LOOK_MS);
    const now = times();
    const share = (now.busy - before.busy) / Math.max(1, now.all - before.all);
    looks = share < QUIET_SHARE ? looks + 1 : 0;
    before = now;
  }
  return looks === QUIET_LOOKS;
}
