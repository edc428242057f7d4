/**
 * Whether a crowd is at the door, for work that can wait: fulfilment and the relay give way while it is. A crowd is more entries a second than a
 * quiet machine would notice, or a buffer in front of the ledger that has filled up, whatever the machine can do.
 *
 * It is looked at when somebody asks, at most every 50 ms: a process without deliveries never looks. Once here, a crowd stays for 300 ms
 * after the last look that saw it, so that a gap between two waves is not taken for its end.
 */
import type { Clock } from '@doorbuster/messaging';

export interface Crowd {
  isHere(): boolean;
}

export interface CrowdSources {
  readonly clock: Clock;
  /** Entries asked for so far, refusals included: those from memory load the thread that serves as well. */
  readonly asked: () => number;
  /** Entries in buffers in front of the ledger. */
  readonly waiting: () => number;
}

const lookEveryMs = 50;
const staysMs = 300;
const crowdPerSecond = 500;
/** What two batches under way leave behind only when they are too slow for what comes. */
const crowdWaiting = 64;

export function createCrowd({ clock, asked, waiting }: CrowdSources): Crowd {
  let lookedAt = Number.NEGATIVE_INFINITY;
  let askedThen = 0;
  let seenAt = Number.NEGATIVE_INFINITY;
  const look = (now: number): void => {
    const count = asked();
    const perSecond = ((count - askedThen) / (now - lookedAt)) * 1_000;
    if (perSecond >= crowdPerSecond || waiting() >= crowdWaiting) seenAt = now;
    lookedAt = now;
    askedThen = count;
  };
  return {
    isHere() {
      const now = clock.monotonic();
      if (now - lookedAt >= lookEveryMs) look(now);
      return now - seenAt < staysMs;
    },
  };
}
