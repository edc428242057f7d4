/**
 * Who is in, in memory: open-addressed tables of the first 64 bits of the member keys (HMACs, so already spread evenly), 8 bytes a slot and
 * about 10 to 16 bytes a member. It answers "certainly not in" or "perhaps in": two members may share 64 bits, so a hit is confirmed by the ledger
 * and decides nothing by itself.
 *
 * Typed arrays and not a Map, because a Map of strings takes 80 bytes a member and throws at 16,777,216 of them. One table while it is small; then 256,
 * each growing on its own, so that no growth moves more than a 256th of the members in one go (at 10^6 that is under 0.2 ms, all at once 40 ms).
 */
import type { MemberKey } from '@doorbuster/core';

const fullestShare = 0.8;
const growth = 1.5;
const smallest = 64;
/** One table up to here. */
const largestAlone = 8_192;
const fullestAlone = Math.floor(largestAlone * fullestShare);
const parts = 256;
/** Room for the tables that get more than their share. */
const unevenness = 1.04;

export class MemberIndex {
  #tables: readonly Table[];
  #size = 0;

  /** @param expected members to make room for at once; more are taken too */
  constructor(expected = 0) {
    this.#tables =
      expected <= fullestAlone
        ? [new Table(Math.ceil(expected / fullestShare) + 1)]
        : tablesOf(Math.ceil((expected / parts / fullestShare) * unevenness));
  }

  get size(): number {
    return this.#size;
  }

  get bytes(): number {
    return this.#tables.reduce((sum, table) => sum + table.bytes, 0);
  }

  /** False: certainly not in. */
  has(memberKey: MemberKey): boolean {
    const low = wordOf(memberKey, 8);
    return this.#tableOf(low).has(wordOf(memberKey, 0), low);
  }

  add(memberKey: MemberKey): void {
    this.#put(wordOf(memberKey, 0), wordOf(memberKey, 8));
  }

  /** A chunk of the ledger's `memberKeys`: concatenated keys of 16 bytes. */
  addKeys(chunk: Uint8Array): void {
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    for (let at = 0; at + 16 <= chunk.byteLength; at += 16)
      this.#put(view.getUint32(at), view.getUint32(at + 4));
  }

  #put(high: number, low: number): void {
    if (this.#size === fullestAlone && this.#tables.length === 1) this.#split();
    if (this.#tableOf(low).add(high, low)) this.#size += 1;
  }

  /** By the last bits of the hash: a table looks at the first ones. */
  #tableOf(low: number): Table {
    return this.#tables.length === 1 ? this.#tables[0]! : this.#tables[low & (parts - 1)]!;
  }

  #split(): void {
    const whole = this.#tables[0]!;
    const tables = tablesOf(smallest);
    whole.each((high, low) => void tables[low & (parts - 1)]!.add(high, low));
    this.#tables = tables;
  }
}

class Table {
  /** Two words a slot: the first and the second 32 bits of a hash. Two zeros mark a free slot. */
  #words: Uint32Array;
  #slots: number;
  #size = 0;

  constructor(slots: number) {
    this.#slots = Math.max(smallest, slots);
    this.#words = new Uint32Array(this.#slots * 2);
  }

  get bytes(): number {
    return this.#words.byteLength;
  }

  has(high: number, low: number): boolean {
    const at = this.#find(high, low) * 2;
    return this.#words[at] !== 0 || this.#words[at + 1] !== 0;
  }

  /** False when it was there already. */
  add(high: number, low: number): boolean {
    if (this.#size >= this.#slots * fullestShare) this.#grow();
    const at = this.#find(high, low) * 2;
    if (this.#words[at] !== 0 || this.#words[at + 1] !== 0) return false;
    this.#words[at] = high;
    // The hash that is all zeros takes the place of its neighbour: a hit is "perhaps" in any case.
    this.#words[at + 1] = high === 0 && low === 0 ? 1 : low;
    this.#size += 1;
    return true;
  }

  each(visit: (high: number, low: number) => void): void {
    each(this.#words, visit);
  }

  /** The slot of this hash, or the free one where it belongs. */
  #find(high: number, low: number): number {
    const words = this.#words;
    const second = high === 0 && low === 0 ? 1 : low;
    let slot = Math.floor((high / 4_294_967_296) * this.#slots);
    for (;;) {
      const a = words[slot * 2]!;
      const b = words[slot * 2 + 1]!;
      if ((a === high && b === second) || (a === 0 && b === 0)) return slot;
      slot = slot + 1 === this.#slots ? 0 : slot + 1;
    }
  }

  #grow(): void {
    const words = this.#words;
    this.#slots = Math.ceil(this.#slots * growth);
    this.#words = new Uint32Array(this.#slots * 2);
    this.#size = 0;
    each(words, (high, low) => void this.add(high, low));
  }
}

function tablesOf(slots: number): readonly Table[] {
  return Array.from({ length: parts }, () => new Table(slots));
}

function each(words: Uint32Array, visit: (high: number, low: number) => void): void {
  for (let at = 0; at < words.length; at += 2)
    if (words[at] !== 0 || words[at + 1] !== 0) visit(words[at]!, words[at + 1]!);
}

/** 32 bits from 8 lower-case hex characters. */
function wordOf(memberKey: MemberKey, at: number): number {
  let word = 0;
  for (let i = at; i < at + 8; i += 1) {
    const code = memberKey.charCodeAt(i);
    word = (word << 4) | (code < 58 ? code - 48 : code - 87);
  }
  return word >>> 0;
}
