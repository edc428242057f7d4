/** Arithmetic on positions: what a position is stands in `schema.ts`. */
import { POSITIONS_PER_LOG } from './schema.ts';
import type { Cursor, Log } from './state.ts';

export function emptyLog(channel: string, log: number, level: number): Log {
  const base = log * POSITIONS_PER_LOG + 1;
  return { channel, log, level, base, head: base - 1, floor: base, routing: 'fanout', keptUntil: 0 };
}

/** The last position a message of this log can have. */
export function endOf({ base }: Log): number {
  return base + POSITIONS_PER_LOG - 2;
}

/** The smaller of two times, where undefined means never. */
export function earlier(a: number | undefined, b: number | undefined): number | undefined {
  if (a === undefined) return b;
  return b === undefined || a < b ? a : b;
}

/** The first position a cursor still needs. */
export function lowestOf(cursor: Cursor): number {
  let lowest = cursor.next;
  for (const position of cursor.flying) if (position < lowest) lowest = position;
  return lowest;
}

/** `[[from, to], ...]` as JSON, or '' for none: what is handed out is mostly one run. */
export function encodeRanges(positions: ReadonlySet<number>): string {
  if (positions.size === 0) return '';
  return JSON.stringify(ascendingRanges(positions) ?? ascendingRanges(Float64Array.from(positions).sort()));
}

/** Undefined when they are in another order than they mostly are: a log is handed out from its front to its end. */
function ascendingRanges(positions: Iterable<number>): readonly [number, number][] | undefined {
  const ranges: [number, number][] = [];
  let last: [number, number] = [0, Number.NEGATIVE_INFINITY];
  for (const position of positions) {
    if (position <= last[1]) return undefined;
    if (position === last[1] + 1) last[1] = position;
    else ranges.push((last = [position, position]));
  }
  return ranges;
}

export function decodeRanges(text: string): readonly (readonly [number, number])[] {
  return text === '' ? [] : (JSON.parse(text) as [number, number][]);
}

/** The columns of the store are whole numbers and refuse others: rounded up, and what is no number at all means now. */
export function wholeMs(ms: number): number {
  return Math.min(Math.ceil(ms) || 0, Number.MAX_SAFE_INTEGER);
}
