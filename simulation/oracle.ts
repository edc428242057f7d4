/**
 * A second opinion on the chain: the rules of stock, order and waitlist written again, short and slow, from the concepts and not from `core`. The
 * common invariants fold records with core's own code, so a wrong rule in core would agree with itself; here it meets somebody who disagrees.
 */
import type { CloseReason, LaneRecord } from '@doorbuster/core';

export interface OracleEvidence {
  /** Observer's time at which a batch with this record became durable; undefined when nobody saw it. */
  committedAt(recordNo: number): number | undefined;
  /** When a voucher of this unit was first seen by a member; undefined when never. */
  shownAt(unit: number): number | undefined;
}

type Of<T extends LaneRecord['type']> = Extract<LaneRecord, { readonly type: T }>;

export class Oracle {
  readonly findings: string[] = [];
  readonly #evidence: OracleEvidence;
  #terms: Of<'PUBLISHED'> | null = null;
  #phase: 'scheduled' | 'open' | 'paused' | 'closed' = 'scheduled';
  #closedBy: CloseReason | null = null;
  #capacity = 0;
  #reserved = 0;
  #seq = 0;
  #recordNo = 0;
  #soldOut = false;
  #epoch = 1;
  readonly #holders = new Map<number, number>();
  readonly #void = new Set<number>();
  #waiting: number[] = [];

  constructor(evidence: OracleEvidence) {
    this.#evidence = evidence;
  }

  /** One durable batch, in order. */
  batch(records: readonly LaneRecord[]): void {
    for (const record of records) {
      if (record.recordNo !== this.#recordNo + 1) this.#say(record, `comes after record ${this.#recordNo}`);
      this.#recordNo = record.recordNo;
      this.#record(record);
    }
    const last = records.at(-1);
    if (last !== undefined) this.#atEnd(last);
  }

  /** Whom the chain says to hold a unit now. */
  get holders(): ReadonlyMap<number, number> {
    return this.#holders;
  }

  get #free(): number {
    return this.#capacity - this.#reserved - this.#holders.size - this.#void.size;
  }

  get #isFull(): boolean {
    return this.#free <= 0 && this.#waiting.length >= (this.#terms?.waitlistLimit ?? 0);
  }

  #say(record: LaneRecord, what: string): void {
    this.findings.push(`record ${record.recordNo} ${record.type}: ${what}`);
  }

  #must(holds: boolean, record: LaneRecord, what: string): void {
    if (!holds) this.#say(record, what);
  }

  #record(record: LaneRecord): void {
    switch (record.type) {
      case 'PUBLISHED':
        this.#terms = record;
        this.#capacity = record.capacity;
        this.#reserved = record.safetyStock;
        return;
      case 'OPENED':
        this.#must(this.#phase === 'scheduled', record, `while ${this.#phase}`);
        this.#must(record.at >= (this.#terms?.startsAt ?? 0), record, 'too early');
        this.#phase = 'open';
        return;
      case 'PAUSED':
        this.#must(this.#phase === 'open', record, `while ${this.#phase}`);
        this.#phase = 'paused';
        return;
      case 'RESUMED':
        this.#must(this.#phase === 'paused', record, `while ${this.#phase}`);
        this.#phase = 'open';
        return;
      case 'RESTORED':
        this.#must(record.epoch > this.#epoch, record, `epoch ${record.epoch} after ${this.#epoch}`);
        this.#epoch = record.epoch;
        return;
      case 'SOLD_OUT':
        this.#must(!this.#soldOut && this.#isFull, record, 'there is room');
        this.#soldOut = true;
        return;
      case 'REOPENED':
        this.#must(this.#soldOut && !this.#isFull, record, 'there is no room');
        this.#soldOut = false;
        return;
      case 'CLOSED':
        this.#must(this.#phase !== 'closed', record, 'twice');
        this.#phase = 'closed';
        this.#closedBy = record.reason;
        return;
      case 'STOCK_CHANGED':
        return this.#stock(record);
      case 'ENTRY':
        return this.#entry(record);
      case 'REVOKED':
        return this.#revoked(record);
      case 'PROMOTED':
        return this.#promoted(record);
      case 'REPLACED':
        return this.#replaced(record);
    }
  }

  #entry(record: Of<'ENTRY'>): void {
    this.#must(this.#phase === 'open', record, `while ${this.#phase}`);
    this.#must(!this.#soldOut, record, 'while sold out');
    this.#must(record.seq === this.#seq + 1, record, `seq ${record.seq} after ${this.#seq}`);
    const endsAt = this.#terms?.endsAt ?? null;
    this.#must(endsAt === null || record.at < endsAt, record, 'after the end');
    this.#seq = record.seq;
    if (record.unit !== null) return this.#give(record, record.unit, record.seq, this.#free > 0);
    this.#must(this.#free <= 0, record, 'waitlisted while a unit is free');
    this.#must(this.#waiting.length < (this.#terms?.waitlistLimit ?? 0), record, 'the waitlist is full');
    this.#waiting.push(record.seq);
  }

  #give(record: LaneRecord, unit: number, seq: number, room: boolean): void {
    this.#must(room, record, `unit ${unit} is given and none is free`);
    this.#must(unit >= 1 && unit <= this.#capacity, record, `unit ${unit} of ${this.#capacity}`);
    this.#must(!this.#holders.has(unit), record, `unit ${unit} is held by entry ${this.#holders.get(unit)}`);
    this.#must(!this.#void.has(unit), record, `unit ${unit} is void`);
    this.#must(![...this.#holders.values()].includes(seq), record, `entry ${seq} holds a unit already`);
    this.#holders.set(unit, seq);
  }

  #revoked(record: Of<'REVOKED'>): void {
    const { seq, unit } = record;
    if (unit === null) {
      this.#must(this.#waiting.includes(seq), record, `entry ${seq} does not wait`);
      this.#waiting = this.#waiting.filter((other) => other !== seq);
      return;
    }
    this.#must(this.#holders.get(unit) === seq, record, `unit ${unit} is not held by entry ${seq}`);
    this.#holders.delete(unit);
    if (record.unitBecomes === 'void') this.#void.add(unit);
    const shown = this.#evidence.shownAt(unit);
    const committed = this.#evidence.committedAt(record.recordNo);
    if (shown === undefined || committed === undefined || shown >= committed) return;
    this.#must(record.unitBecomes === 'void', record, `unit ${unit} was shown at ${shown} and is free again`);
  }

  #promoted(record: Of<'PROMOTED'>): void {
    const { seq, unit } = record;
    this.#must(
      this.#waiting[0] === seq,
      record,
      `entry ${seq} is promoted, ${this.#waiting[0]} waits longer`,
    );
    this.#waiting = this.#waiting.filter((other) => other !== seq);
    this.#give(record, unit, seq, this.#free > 0);
  }

  #replaced(record: Of<'REPLACED'>): void {
    const { seq, unit, newUnit } = record;
    this.#must(this.#holders.get(unit) === seq, record, `unit ${unit} is not held by entry ${seq}`);
    const room = this.#reserved > 0 || this.#free > 0;
    this.#holders.delete(unit);
    this.#void.add(unit);
    if (this.#reserved > 0) this.#reserved -= 1;
    this.#give(record, newUnit, seq, room);
  }

  #stock(record: Of<'STOCK_CHANGED'>): void {
    this.#must(this.#phase !== 'closed', record, 'after the close');
    this.#capacity = record.capacity;
    this.#reserved = record.safetyStock;
    this.#must(this.#free >= 0, record, 'less than what is given');
    const highest = Math.max(0, ...this.#holders.keys(), ...this.#void);
    this.#must(highest <= record.capacity, record, `unit ${highest} was given`);
  }

  /** What an open lane owes when its transaction ends. */
  #atEnd(last: LaneRecord): void {
    if (this.#phase === 'scheduled') return;
    if (this.#phase === 'closed') {
      if (this.#closedBy === 'sold-out') this.#must(this.#soldOut, last, 'closed by a sold-out that is not');
      return;
    }
    this.#must(this.#free <= 0 || this.#waiting.length === 0, last, 'a unit is free and somebody waits');
    this.#must(
      this.#soldOut === this.#isFull,
      last,
      this.#soldOut ? 'sold out, and there is room' : 'full, and not sold out',
    );
    this.#must(!(this.#soldOut && this.#terms?.closeWhenSoldOut), last, 'sold out, and still open');
  }
}
