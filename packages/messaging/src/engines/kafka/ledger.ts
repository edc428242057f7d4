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
import { Marks, NO_MARKS } from './marks.ts';
import { OffsetFlags, OUT, PENDING, SETTLED } from './offset-flags.ts';
import { clip, decodeSet, encodeSet, Runs } from './offset-set.ts';

export interface LedgerText {
  readonly watermark: number;
  readonly text: string;
  /** What the text says is out; to be given to `confirm` when the broker has taken it. */
  readonly marks: Marks;
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
  /** From here on the log was read by whoever has this ledger. */
  #begin: number;
  #watermark: number;
  /** Pending is what was read and is not settled. */
  readonly #flags = new OffsetFlags();
  #pending = 0;
  #settled = 0;
  #out = 0;
  readonly #counts = new Map<number, number>();
  /** Out by what the broker has; and by what is on its way to it, in the order of sending. */
  #noted = NO_MARKS;
  #sent: Marks[] = [];

  constructor(watermark = 0) {
    this.#begin = watermark;
    this.#watermark = watermark;
    this.position = watermark;
  }

  get watermark(): number {
    return this.#watermark;
  }

  get pendingCount(): number {
    return this.#pending;
  }

  get settledAbove(): number {
    return this.#settled;
  }

  get outCount(): number {
    return this.#out;
  }

  /** Hand-outs in vain so far. */
  countOf(offset: number): number {
    return this.#counts.get(offset) ?? 0;
  }

  isSettled(offset: number): boolean {
    return offset < this.#watermark || (this.#flags.get(offset) & SETTLED) !== 0;
  }

  /** Whether it was there to be read, by this owner of the partition: settled since, or not yet. */
  hasRead(offset: number): boolean {
    return offset >= this.#begin && offset < this.position;
  }

  isOut(offset: number): boolean {
    return (this.#flags.get(offset) & OUT) !== 0;
  }

  /** Reads on to a record. What lies between is nobody's (markers of transactions, compacted away) and will not be read again either. */
  reach(offset: number): void {
    if (offset < this.position) return;
    if (this.#pending === 0) this.#raise(offset);
    this.#flags.set(offset, PENDING);
    this.#pending += 1;
    this.position = offset + 1;
  }

  /** Reads on over what is nobody's or settled, up to but not including `offset`. */
  skipTo(offset: number): void {
    if (offset <= this.position) return;
    this.position = offset;
    if (this.#pending === 0) this.#raise(offset);
  }

  /** The log begins later than it was read: what is before is gone. Returns how many at most nobody has read or settled. */
  lose(before: number): number {
    let lost = Math.max(0, before - this.position);
    let settled = this.#flags.next(SETTLED, this.position, before);
    for (; settled < before; settled = this.#flags.next(SETTLED, settled + 1, before)) lost -= 1;
    const end = Math.min(before, this.position);
    for (let offset = this.#nextPending(this.#watermark, end); offset < end; ) {
      this.settle(offset);
      offset = this.#nextPending(offset + 1, end);
    }
    this.#begin = Math.max(this.#begin, before);
    if (before > this.position) this.position = before;
    if (this.#pending === 0) this.#raise(this.position);
    return lost;
  }

  settle(offset: number): void {
    const flags = this.#flags.get(offset);
    if ((flags & PENDING) === 0) return;
    this.#flags.set(offset, SETTLED);
    this.#pending -= 1;
    this.#settled += 1;
    if (flags & OUT) this.#out -= 1;
    if (this.#counts.size > 0) this.#counts.delete(offset);
    if (offset === this.#watermark) this.#raise(this.#nextPending(offset, this.position));
  }

  handOut(offset: number): void {
    const flags = this.#flags.get(offset);
    if (flags & OUT) return;
    this.#flags.set(offset, flags | OUT);
    this.#out += 1;
  }

  /** Whether the broker knows already that it is out, and is not about to be told otherwise: then it may be handed out at once. */
  isNoted(offset: number): boolean {
    if (!this.#noted.has(offset)) return false;
    return this.#sent.length === 0 || this.#sent.every((marks) => marks.has(offset));
  }

  /** Whether the broker may believe that something is out. */
  get hasNotes(): boolean {
    return this.#noted.size > 0 || this.#sent.some(({ size }) => size > 0);
  }

  giveBack(offset: number): void {
    this.#takeBack(offset);
    this.#noted.remove(offset);
    for (const marks of this.#sent) marks.remove(offset);
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
    const settled = clip(this.#settledText(), SETTLED_LIMIT);
    const told = new Runs();
    const marks = this.#markAhead(this.#counts.size === 0 ? ahead : 0, told);
    const out = clip(told.textFrom(base), OUT_LIMIT);
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
  confirm(marks: Marks): void {
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
    for (const offset of new Set(decodeSet(settled, watermark))) {
      ledger.#flags.set(offset, SETTLED);
      ledger.#settled += 1;
    }
    for (const offset of decodeSet(out, watermark)) ledger.handOut(offset);
    for (const one of counts === '' ? [] : counts.split(';')) {
      const at = one.indexOf('=');
      const count = Number.parseInt(one.slice(0, at), 36);
      for (const offset of decodeSet(one.slice(at + 1), watermark)) ledger.#counts.set(offset, count);
    }
    return { ledger, holder };
  }

  /** What was out at the former holder: in vain when it is gone, elsewhere not a fault of the message. */
  takeOver(holderIsGone: boolean): void {
    let offset = this.#flags.next(OUT, this.#watermark);
    for (; offset < Number.POSITIVE_INFINITY; offset = this.#flags.next(OUT, offset + 1)) {
      this.#takeBack(offset);
      if (holderIsGone) this.abandon(offset);
    }
  }

  #takeBack(offset: number): void {
    const flags = this.#flags.get(offset);
    if ((flags & OUT) === 0) return;
    this.#flags.set(offset, flags & ~OUT);
    this.#out -= 1;
  }

  #nextPending(from: number, end: number): number {
    return this.#pending === 0 ? end : this.#flags.next(PENDING, from, end);
  }

  #settledText(): string {
    const runs = new Runs();
    let offset = this.#flags.next(SETTLED, this.#watermark);
    while (runs.size < this.#settled && offset < Number.POSITIVE_INFINITY) {
      runs.add(offset);
      offset = this.#flags.next(SETTLED, offset + 1);
    }
    return runs.textFrom(this.#watermark);
  }

  /** Those that are out, and the first `ahead` of the others; all of them go to `told`. */
  #markAhead(ahead: number, told: Runs): Marks {
    const beyond = new Set<number>();
    /** The first one that is not told. */
    let below: number | undefined;
    let left = ahead;
    let out = this.#out;
    let offset = this.#watermark;
    for (; left > 0 || out > 0; offset += 1) {
      offset = this.#flags.next(below === undefined ? PENDING | OUT : OUT, offset, this.position);
      if (offset >= this.position) break;
      if (this.isOut(offset)) out -= 1;
      else if (left > 0) left -= 1;
      else {
        below = offset;
        continue;
      }
      told.add(offset);
      if (below !== undefined) beyond.add(offset);
    }
    const marks = new Marks(below ?? offset, beyond, told.size);
    // Of those that failed it is enough to know what all of them say: the brokers may be away for long.
    if (this.#sent.length > 1) this.#sent = [this.#sent.reduce((all, one) => all.and(one))];
    this.#sent.push(marks);
    return marks;
  }

  #raise(to: number): void {
    if (to <= this.#watermark) return;
    let passed = this.#settled > 0 ? this.#flags.next(SETTLED, this.#watermark, to) : to;
    for (; passed < to && this.#settled > 0; passed = this.#flags.next(SETTLED, passed + 1, to))
      this.#settled -= 1;
    this.#flags.forgetBelow(to);
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
