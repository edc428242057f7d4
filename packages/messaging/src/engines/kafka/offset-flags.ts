/**
 * What a ledger knows of single offsets: a byte of flags each, in pages that are there only where something is. A set of numbers costs a hash and
 * some thirty bytes an offset, and leaves holes that each look at its first one walks over; a ring would span the gaps of a compacted log.
 */
export const PENDING = 1;
export const OUT = 2;
export const SETTLED = 4;

const PAGE = 1_024;
const NO_PAGE = new Uint8Array(0);

export class OffsetFlags {
  readonly #pages = new Map<number, Uint8Array>();
  /** Looked at last: the next look is nearly always at the same one. */
  #lastNumber = -1;
  #last: Uint8Array = NO_PAGE;
  #lowest = 0;

  get(offset: number): number {
    return this.#pageOf(Math.floor(offset / PAGE))?.[offset % PAGE] ?? 0;
  }

  set(offset: number, flags: number): void {
    const number = Math.floor(offset / PAGE);
    let page = this.#pageOf(number);
    if (!page) {
      page = new Uint8Array(PAGE);
      this.#pages.set(number, page);
      this.#lastNumber = number;
      this.#last = page;
    }
    page[offset % PAGE] = flags;
  }

  /** The first offset from `from` on that has one of these flags; `end` when none below it has. */
  next(flags: number, from: number, end = Number.POSITIVE_INFINITY): number {
    for (let offset = from; offset < end; ) {
      const number = Math.floor(offset / PAGE);
      const page = this.#pageOf(number);
      if (!page) {
        offset = this.#pageAfter(number) * PAGE;
        continue;
      }
      const first = number * PAGE;
      const stop = Math.min(PAGE, end - first);
      for (let at = offset - first; at < stop; at += 1) if ((page[at] as number) & flags) return first + at;
      offset = first + PAGE;
    }
    return end;
  }

  /** Nobody will ask for what is below any more. */
  forgetBelow(offset: number): void {
    const lowest = Math.floor(offset / PAGE);
    if (lowest === this.#lowest) return;
    this.#lowest = lowest;
    for (const number of this.#pages.keys()) if (number < lowest) this.#pages.delete(number);
    if (this.#lastNumber >= lowest) return;
    this.#lastNumber = -1;
    this.#last = NO_PAGE;
  }

  #pageOf(number: number): Uint8Array | undefined {
    if (number === this.#lastNumber) return this.#last;
    const page = this.#pages.get(number);
    if (!page) return undefined;
    this.#lastNumber = number;
    this.#last = page;
    return page;
  }

  #pageAfter(number: number): number {
    let found = Number.POSITIVE_INFINITY;
    for (const one of this.#pages.keys()) if (one > number && one < found) found = one;
    return found;
  }
}
