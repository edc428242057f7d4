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
  const sorted = Float64Array.from(positions).sort();
  const ranges: [number, number][] = [];
  for (const position of sorted) {
    const last = ranges.at(-1);
    if (last && last[1] + 1 === position) last[1] = position;
    else ranges.push([position, position]);
  }
  return JSON.stringify(ranges);
}

export function decodeRanges(text: string): readonly (readonly [number, number])[] {
  return text === '' ? [] : (JSON.parse(text) as [number, number][]);
}

/** The columns of the store are whole numbers and refuse others: rounded up, and what is no number at all means now. */
export function wholeMs(ms: number): number {
  return Math.min(Math.ceil(ms) || 0, Number.MAX_SAFE_INTEGER);
}
