/**
 * What a rewind must not leave behind. Copies that wait in a subscription's own log (retries, redrives, delays) come again from the channel's log, so the
 * rewind passes over them; but an edited redrive was never in that log, and a message may have been trimmed from it meanwhile. Those are nowhere else, so they are stored
 * once more behind the end of `-L`, from where the group then reads on.
 *
 * Copied, not noted in the committed text as unsettled: that text has room for some hundreds of scattered offsets, and so many may wait. A crash before the commit leaves both
 * copies, so each names the one it stands for: while that one is not passed over, the owner of the partition settles the new one unseen (`intake.ts`), and another rewind copies the old
 * one again and not both. Whether the log has a message is asked by its id, because a copy's rank is a place of the log only where
 * it was never delayed and never lost its place.
 */
import type { Ledger } from './ledger.ts';
import type { LogRecord } from './log-record.ts';
import type { Logs } from './logs.ts';
import type { Place } from './places.ts';
import type { Item } from './publisher.ts';
import { copyOf, headerOf, Received } from './wire.ts';

/** Where a rewind goes in one log of the channel. */
export interface Goal {
  readonly topic: string;
  /** Of each partition. */
  readonly offsets: readonly number[];
}

interface Waiting {
  readonly record: LogRecord;
  readonly received: Received;
  readonly identity: string;
}

interface Search {
  readonly channel: string;
  readonly partition: number;
  readonly goal: Goal;
  readonly sinceMs: number;
}

/**
 * The copies of one partition's own log that stay. `goals` by priority; `sinceMs` is the time of the point, -Infinity for the earliest. Of what no log has, it
 * leaves out what is older than that.
 */
export async function keptCopies(
  logs: Logs,
  channel: string,
  { topic, partition, ledger, start, end }: Place,
  goals: readonly Goal[],
  sinceMs: number,
): Promise<readonly Item[]> {
  // Nobody is in the group, so what was out was in vain.
  ledger.takeOver(true);
  const waiting: Waiting[] = [];
  await logs.read(topic, partition, Math.max(start, ledger.watermark), end, (records) => {
    for (const record of records) {
      if (ledger.isSettled(record.offset) || record.offset >= end) continue;
      const received = new Received(record, { channel, text: `${topic}/${partition}/${record.offset}` });
      waiting.push({ record, received, identity: identityOf(record, channel) });
    }
  });
  const staying = new Set<Waiting>();
  for (const [level, ofLevel] of Map.groupBy(
    withoutRepeats(waiting),
    ({ received }) => received.note.priority ?? 0,
  )) {
    const goal = goals[level];
    const left = goal ? await notInLog(logs, { channel, partition, goal, sinceMs }, ofLevel) : ofLevel;
    for (const one of left) staying.add(one);
  }
  return waiting.filter((one) => staying.has(one)).map((one) => ({ partition, parcel: again(one, ledger) }));
}

/** Without what a rewind stored that was killed: what it stands for waits too. */
function withoutRepeats(waiting: readonly Waiting[]): readonly Waiting[] {
  const offsets = new Set(waiting.map(({ record }) => record.offset));
  return waiting.filter(({ received: { note } }) => note.kept === undefined || !offsets.has(note.kept));
}

async function notInLog(
  logs: Logs,
  { channel, partition, goal, sinceMs }: Search,
  waiting: readonly Waiting[],
): Promise<readonly Waiting[]> {
  const { topic, offsets } = goal;
  const point = offsets[partition] ?? 0;
  // A rank before the point may show where a message lies that the rewind passes over.
  const from = waiting.reduce((least, { received }) => Math.min(least, received.note.rank ?? point), point);
  const wanted = new Set(waiting.map(({ identity }) => identity));
  const found = new Map<string, number>();
  await logs.read(topic, partition, from, (await logs.ends(topic))[partition] ?? 0, (records) => {
    for (const record of records) {
      const identity = identityOf(record, channel);
      if (wanted.has(identity)) found.set(identity, record.offset);
    }
    return found.size < wanted.size;
  });
  // Asked last: what was trimmed while this looked is gone too.
  const start = (await logs.starts(topic))[partition] ?? 0;
  const isInLog = ({ identity }: Waiting): boolean => (found.get(identity) ?? -1) >= start;
  return waiting.filter((one) => !isInLog(one) && (point <= start || madeAt(one) >= sinceMs));
}

/** A copy's record is younger than its message. */
function madeAt({ record, received }: Waiting): number {
  return Math.min(record.timestamp, received.madeAt || record.timestamp);
}

/** The same for a message and all its copies: an id where there is one, else what it is made of. */
function identityOf(record: LogRecord, channel: string): string {
  const id = headerOf(record, 'ce_id');
  if (id !== undefined) return `${headerOf(record, 'ce_source') ?? ''} ${id}`;
  const { message, tombstone } = new Received(record, { channel, text: '' });
  if (message && !tombstone) return `${message.source} ${message.id}`;
  return `${record.keyText() ?? ''} ${record.value?.toString('base64') ?? ''}`;
}

function again({ record, received }: Waiting, ledger: Ledger): Item['parcel'] {
  const { note, parcel } = received;
  const abandoned = (note.abandoned ?? 0) + ledger.countOf(record.offset);
  return copyOf(parcel, { ...note, abandoned, kept: record.offset });
}
