/**
 * What is settled in one partition, for one subscription: a watermark below which everything is, and the exceptions above it. Kafka keeps one
 * number per partition, and committing the highest one that is settled loses whatever is still out below it. So the LOWEST that is not
 * settled is committed, and the rest travels in the text that Kafka keeps beside a committed offset (4,096 bytes):
 *
 *   settled above the watermark: not handed out again after a crash
 *   out: hand-outs under way, and a few that are next. When their holder is gone they were in vain, and are counted
 *   counts: hand-outs that ended in vain before
 *   expired: dropped because their time had passed, since the beginning
 *
 * The broker takes a commit from a member of the group only: the ledger is fenced by the group's generation.
 */
export interface LedgerText {
  readonly watermark: number;
  readonly text: string;
  /** What the text says is out; to be given to `confirm` when the broker has taken it. */
  readonly marks: Set<number>;
}

/** How far above the watermark a channel's partition is read: what fits into the text however it is mixed. */
export const WINDOW = 8_192;
/**
 * And a subscription's own log, where what waits for hours lies before what waits for a second. So much does not always fit: what is cut off of
 * the settled comes again after a crash, what is cut off of the hand-outs is not counted.
 */
export const LATER_WINDOW = 65_536;
const LIMIT = 4_000;
const SETTLED_LIMIT = 2_000;
const OUT_LIMIT = 1_600;
const VERSION = '1';

export class Ledger {
  /** The next offset to be read; everything from here on is unsettled. */
  position: number;
  expired = 0;
  #watermark: number;
  readonly #settled = new Set<number>();
  /** Read and not settled, in the order of the log. */
  readonly #pending = new Set<number>();
  readonly #out = new Set<number>();
  readonly #counts = new Map<number, number>();
  /** Out by what the broker has; and by what is on its way to it, in the order of sending. */
  #noted = new Set<number>();
  #sent: Set<number>[] = [];

  constructor(watermark = 0) {
    this.#watermark = watermark;
    this.position = watermark;
  }

  get watermark(): number {
    return this.#watermark;
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  get settledAbove(): number {
    return this.#settled.size;
  }

  get outCount(): number {
    return this.#out.size;
  }

  /** Hand-outs in vain so far. */
  countOf(offset: number): number {
    return this.#counts.get(offset) ?? 0;
  }

  isSettled(offset: number): boolean {
    return offset < this.#watermark || this.#settled.has(offset);
  }

  isOut(offset: number): boolean {
    return this.#out.has(offset);
  }

  /** Reads on to a record. What lies between is nobody's (markers of transactions, compacted away) and will not be read again either. */
  reach(offset: number): void {
    if (offset < this.position) return;
    if (this.#pending.size === 0) this.#raise(offset);
    this.#pending.add(offset);
    this.position = offset + 1;
  }

  /** Reads on over what is nobody's or settled, up to but not including `offset`. */
  skipTo(offset: number): void {
    if (offset <= this.position) return;
    this.position = offset;
    if (this.#pending.size === 0) this.#raise(offset);
  }

  /** The log begins later than it was read: what is before is gone. Returns how many at most nobody has read or settled. */
  lose(before: number): number {
    let lost = Math.max(0, before - this.position);
    for (const offset of this.#settled) if (offset >= this.position && offset < before) lost -= 1;
    for (const offset of this.#pending) {
      if (offset >= before) break;
      this.settle(offset);
    }
    if (before > this.position) this.position = before;
    if (this.#pending.size === 0) this.#raise(this.position);
    return lost;
  }

  settle(offset: number): void {
    if (!this.#pending.delete(offset)) return;
    this.#out.delete(offset);
    this.#counts.delete(offset);
    this.#settled.add(offset);
    if (offset !== this.#watermark) return;
    const [first] = this.#pending;
    this.#raise(first ?? this.position);
  }

  handOut(offset: number): void {
    this.#out.add(offset);
  }

  /** Whether the broker knows already that it is out, and is not about to be told otherwise: then it may be handed out at once. */
  isNoted(offset: number): boolean {
    return this.#noted.has(offset) && this.#sent.every((marks) => marks.has(offset));
  }

  /** Whether the broker may believe that something is out. */
  get hasNotes(): boolean {
    return this.#noted.size > 0 || this.#sent.some(({ size }) => size > 0);
  }

  giveBack(offset: number): void {
    this.#out.delete(offset);
    this.#noted.delete(offset);
    for (const marks of this.#sent) marks.delete(offset);
  }

  /** A hand-out ended without a settlement. */
  abandon(offset: number): void {
    this.giveBack(offset);
    this.#counts.set(offset, this.countOf(offset) + 1);
  }

  /**
   * `ahead`: so many that are next are written down as out too, so that they need not wait for a commit of their own. A crash counts them although
   * they were not out; so none are while a message is about that was out in vain before, and no crash counts a bystander twice.
   */
  encode(holder: string, ahead = 0): LedgerText {
    const base = this.#watermark;
    const settled = clip(encodeSet(this.#settled, base), SETTLED_LIMIT);
    const marks = this.#markAhead(this.#counts.size === 0 ? ahead : 0);
    const out = clip(encodeSet(marks, base), OUT_LIMIT);
    const parts = [VERSION, this.expired.toString(36), settled, out];
    const tail = `|${holder}`;
    let room = LIMIT - parts.join('|').length - tail.length;
    const counts: string[] = [];
    for (const [count, offsets] of byCount(this.#counts)) {
      const text = `${count.toString(36)}=${encodeSet(offsets, base)}`;
      room -= text.length + 1;
      if (room < 0) break;
      counts.push(text);
    }
    return { watermark: base, text: [...parts, counts.join(';')].join('|') + tail, marks };
  }

  /** The broker has taken what was encoded with these marks, and with that all that was sent before it. */
  confirm(marks: Set<number>): void {
    const at = this.#sent.indexOf(marks);
    if (at < 0) return;
    this.#sent.splice(0, at + 1);
    this.#noted = marks;
  }

  /** The ledger as it was committed, and who held it. A text of somebody else counts as none. */
  static decode(watermark: number, text: string | null | undefined): { ledger: Ledger; holder: string } {
    const ledger = new Ledger(watermark);
    const [version, expired = '0', settled = '', out = '', counts = '', holder = ''] = (text ?? '').split(
      '|',
    );
    if (version !== VERSION) return { ledger, holder: '' };
    ledger.expired = Number.parseInt(expired, 36);
    for (const offset of decodeSet(settled, watermark)) ledger.#settled.add(offset);
    for (const offset of decodeSet(out, watermark)) ledger.#out.add(offset);
    for (const one of counts === '' ? [] : counts.split(';')) {
      const at = one.indexOf('=');
      const count = Number.parseInt(one.slice(0, at), 36);
      for (const offset of decodeSet(one.slice(at + 1), watermark)) ledger.#counts.set(offset, count);
    }
    return { ledger, holder };
  }

  /** What was out at the former holder: in vain when it is gone, elsewhere not a fault of the message. */
  takeOver(holderIsGone: boolean): void {
    const out = [...this.#out];
    this.#out.clear();
    if (holderIsGone) for (const offset of out) this.abandon(offset);
  }

  #markAhead(ahead: number): Set<number> {
    const marks = new Set(this.#out);
    let left = ahead;
    for (const offset of this.#pending) {
      if (left <= 0) break;
      if (marks.has(offset)) continue;
      marks.add(offset);
      left -= 1;
    }
    // Of those that failed it is enough to know what all of them say: the brokers may be away for long.
    if (this.#sent.length > 1) this.#sent = [this.#sent.reduce((all, one) => all.intersection(one))];
    this.#sent.push(marks);
    return marks;
  }

  #raise(to: number): void {
    if (to <= this.#watermark) return;
    // A loop over the numbers, or over the exceptions: whichever is shorter.
    if (to - this.#watermark <= this.#settled.size)
      for (let offset = this.#watermark; offset < to; offset += 1) this.#settled.delete(offset);
    else for (const offset of this.#settled) if (offset < to) this.#settled.delete(offset);
    this.#watermark = to;
  }
}

/** The highest first: what does not fit into the text is what was tried least. */
function byCount(counts: ReadonlyMap<number, number>): readonly (readonly [number, ReadonlySet<number>])[] {
  const groups = new Map<number, Set<number>>();
  for (const [offset, count] of counts) {
    const group = groups.get(count) ?? new Set<number>();
    groups.set(count, group.add(offset));
  }
  return [...groups].sort(([a], [b]) => b - a);
}

/** As much of an encoded set as fits, from its beginning. */
function clip(text: string, limit: number): string {
  if (text.length <= limit) return text;
  // Four signs of a bitmap are three whole bytes.
  if (text.startsWith('~')) return text.slice(0, 1 + Math.floor((limit - 1) / 4) * 4);
  return text.slice(0, text.lastIndexOf(',', limit));
}

/** Runs of numbers (`3.2` is 3 and 4), each from the end of the last one; or a bitmap when that is shorter. */
export function encodeSet(offsets: ReadonlySet<number>, base: number): string {
  if (offsets.size === 0) return '';
  const sorted = [...offsets].sort((a, b) => a - b);
  let runs = '';
  let end = base;
  for (let at = 0; at < sorted.length; ) {
    const first = sorted[at] as number;
    let length = 1;
    while (sorted[at + length] === first + length) length += 1;
    runs += `${runs === '' ? '' : ','}${(first - end).toString(36)}${length === 1 ? '' : `.${length.toString(36)}`}`;
    end = first + length;
    at += length;
  }
  const span = end - base;
  if (runs.length <= Math.ceil(span / 6)) return runs;
  const bits = Buffer.alloc(Math.ceil(span / 8));
  for (const offset of sorted) {
    const bit = offset - base;
    bits[bit >> 3] = (bits[bit >> 3] as number) | (1 << (bit & 7));
  }
  return `~${bits.toString('base64')}`;
}

export function decodeSet(text: string, base: number): readonly number[] {
  if (text === '') return [];
  const offsets: number[] = [];
  if (text.startsWith('~')) {
    const bits = Buffer.from(text.slice(1), 'base64');
    for (let bit = 0; bit < bits.length * 8; bit += 1)
      if ((bits[bit >> 3] as number) & (1 << (bit & 7))) offsets.push(base + bit);
    return offsets;
  }
  let end = base;
  for (const run of text.split(',')) {
    const [gap = '0', length = '1'] = run.split('.');
    const first = end + Number.parseInt(gap, 36);
    end = first + Number.parseInt(length, 36);
    for (let offset = first; offset < end; offset += 1) offsets.push(offset);
  }
  return offsets;
}
