/** A ledger against the plainest one that could be written: sets, walked as a whole for every answer. Seeded, so that a failure comes again. */
import { expect, it } from 'vitest';
import { Ledger } from './ledger.ts';

class PlainLedger {
  readonly pending = new Set<number>();
  readonly settled = new Set<number>();
  readonly out = new Set<number>();
  sent: Set<number>[] = [];
  noted = new Set<number>();
  position = 0;

  get watermark(): number {
    return Math.min(this.position, ...this.pending);
  }

  reach(offset: number): void {
    this.pending.add(offset);
    this.position = offset + 1;
  }

  settle(offset: number): void {
    this.pending.delete(offset);
    this.out.delete(offset);
    this.settled.add(offset);
  }

  giveBack(offset: number): void {
    for (const marks of [this.noted, ...this.sent]) marks.delete(offset);
    this.out.delete(offset);
  }

  send(ahead: number): Set<number> {
    const next = [...this.pending].filter((one) => !this.out.has(one)).slice(0, ahead);
    const marks = new Set([...this.out, ...next]);
    if (this.sent.length > 1) this.sent = [this.sent.reduce((all, one) => all.intersection(one))];
    this.sent.push(marks);
    return marks;
  }

  isNoted(offset: number): boolean {
    return this.noted.has(offset) && this.sent.every((marks) => marks.has(offset));
  }
}

/** Numbers from a seed: mulberry32. */
function numbersOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

class Both {
  readonly ledger = new Ledger();
  readonly plain = new PlainLedger();
  readonly #number: (below: number) => number;

  constructor(seed: number) {
    this.#number = numbersOf(seed);
  }

  /** One thing happens to both; what their commits say is returned when there was one. */
  step(): readonly [unknown, unknown] {
    const { ledger, plain } = this;
    const choice = this.#number(10);
    if (choice < 4) this.#to('reach', plain.position + (this.#number(20) === 0 ? this.#number(5_000) : 0));
    else if (choice < 6) {
      const offset = this.#pick(plain.pending);
      if (offset !== undefined) ledger.handOut(offset);
      if (offset !== undefined) plain.out.add(offset);
    } else if (choice < 8) this.#to('settle', this.#pick(plain.out));
    else if (choice === 8) this.#to('giveBack', this.#pick(plain.out));
    else return this.#commit(this.#number(6));
    return [0, 0];
  }

  said(): readonly [unknown, unknown] {
    const { ledger, plain } = this;
    const all = [...plain.pending];
    return [
      [
        ledger.watermark,
        ledger.pendingCount,
        ledger.outCount,
        all.filter((offset) => ledger.isNoted(offset)),
        all.filter((offset) => ledger.isOut(offset)),
      ],
      [
        plain.watermark,
        plain.pending.size,
        plain.out.size,
        all.filter((offset) => plain.isNoted(offset)),
        all.filter((offset) => plain.out.has(offset)),
      ],
    ];
  }

  #to(what: 'reach' | 'settle' | 'giveBack', offset: number | undefined): void {
    if (offset === undefined) return;
    this.ledger[what](offset);
    this.plain[what](offset);
  }

  #pick(from: ReadonlySet<number>): number | undefined {
    return [...from][this.#number(Math.max(1, from.size))];
  }

  #commit(ahead: number): readonly [unknown, unknown] {
    const { ledger, plain } = this;
    const { marks, text, watermark } = ledger.encode('me', ahead);
    const expected = plain.send(ahead);
    const read = Ledger.decode(watermark, text).ledger;
    const all = [...plain.pending];
    const marked = all.filter((offset) => marks.has(offset));
    if (this.#number(2) === 0) {
      ledger.confirm(marks);
      plain.noted = expected;
      plain.sent = [];
    }
    const above = [...plain.settled].filter((offset) => offset > watermark);
    return [
      [
        marked,
        all.filter((offset) => read.isOut(offset)),
        all.filter((offset) => read.isSettled(offset)),
        read.outCount,
        read.settledAbove,
      ],
      [
        all.filter((offset) => expected.has(offset)),
        all.filter((offset) => expected.has(offset)),
        [],
        expected.size,
        above.length,
      ],
    ];
  }
}

it.each([1, 2, 3, 4, 5, 6, 7, 8])('says what a plain one says, whatever happens: seed %i', (seed) => {
  const both = new Both(seed);
  for (let count = 0; count < 1_000; count += 1) {
    const [written, expected] = both.step();
    expect(written).toEqual(expected);
    const [ledger, plain] = both.said();
    expect(ledger).toEqual(plain);
  }
});
