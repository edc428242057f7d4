/**
 * Waits beyond the end of the delay ladder (46 hours; a snooze may be of weeks). The copy goes round the ladder with the time it is really for beside it, and a
 * consumer that gets it before that time sends it round again instead of handing it out.
 */
import type { ConsumeMessage } from 'amqplib';
import { numberOf } from './read-json.ts';
import type { Parcel } from './wire.ts';

/** Taken off every message that is copied or parked, like all that begins with `x-db-`. */
const DUE = 'x-db-due';

export function markDue({ content, options }: Parcel, dueAt: number): Parcel {
  return { content, options: { ...options, headers: { ...options.headers, [DUE]: String(dueAt) } } };
}

/** Milliseconds since the epoch; undefined for what is due when it comes, and for what is no time. */
export function dueAtOf({ properties }: ConsumeMessage): number | undefined {
  return numberOf(properties.headers?.[DUE]);
}
