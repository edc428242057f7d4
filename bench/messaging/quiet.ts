/**
 * Waits until the machine rests. What a server still does behind what was stored, or behind the queue of the side before that was deleted, takes up to a third of the rate of
 * whoever is measured meanwhile.
 */
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { machineCpu } from '../cpu.ts';

const LOOK_MS = 250;
const QUIET_LOOKS = 3;
/** Of all processors together. */
const QUIET_SHARE = 0.1;

/** Resolves to true when all processors together have been less than a tenth busy for three looks in a row, and to false after `longestMs` on a machine that does not rest, or that does not tell. */
export async function quiet(longestMs: number): Promise<boolean> {
  const end = performance.now() + longestMs;
  let before = machineCpu();
  let at = performance.now();
  let looks = 0;
  while (looks < QUIET_LOOKS && performance.now() < end) {
    await sleep(LOOK_MS);
    const now = machineCpu();
    if (!before || !now) return false;
    const since = at;
    at = performance.now();
    const share = (now.busy - before.busy) / ((at - since) * availableParallelism());
    looks = share < QUIET_SHARE ? looks + 1 : 0;
    before = now;
  }
  return looks === QUIET_LOOKS;
}
