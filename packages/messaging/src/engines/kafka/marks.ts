/**
 * What one commit told the broker to be out. It is the front of what was read and not settled, so a number says nearly all of it: everything
 * below, and the few beyond that are named.
 */
export class Marks {
  readonly #below: number;
  readonly #beyond: ReadonlySet<number>;
  /** Given back since: the next commit may say otherwise. */
  readonly #without = new Set<number>();
  #size: number;

  constructor(below: number, beyond: ReadonlySet<number>, size: number) {
    this.#below = below;
    this.#beyond = beyond;
    this.#size = size;
  }

  /** How many were told and not given back. */
  get size(): number {
    return this.#size;
  }

  /** Only to be asked of what is read and not settled. */
  has(offset: number): boolean {
    if (offset >= this.#below && !this.#beyond.has(offset)) return false;
    return this.#without.size === 0 || !this.#without.has(offset);
  }

  remove(offset: number): void {
    if (!this.has(offset)) return;
    this.#without.add(offset);
    this.#size -= 1;
  }

  /** What both say. */
  and(other: Marks): Marks {
    const beyond = new Set<number>();
    for (const offset of this.#beyond) if (other.has(offset)) beyond.add(offset);
    for (const offset of other.#beyond) if (this.has(offset)) beyond.add(offset);
    const both = new Marks(
      Math.min(this.#below, other.#below),
      beyond,
      // More than there are does no harm: it is asked for whether there may be any.
      Math.max(this.size, other.size),
    );
    for (const offset of this.#without) both.#without.add(offset);
    for (const offset of other.#without) both.#without.add(offset);
    return both;
  }
}

export const NO_MARKS = new Marks(Number.NEGATIVE_INFINITY, new Set(), 0);
