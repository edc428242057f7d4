/**
 * Who is in, in memory: an open-addressed table from the first 64 bits of the member key (an HMAC, so already spread evenly) to
 * the seq, 12 bytes a slot and at most 24 bytes a member. It answers "certainly not in" or "perhaps in": two members may share 64 bits, so a
 * hit is confirmed by the ledger and decides nothing by itself.
 *
 * Typed arrays and not a Map, because a Map of strings takes 80 bytes a member and throws at 16,777,216 of them.
 */
import type { MemberKey } from '@doorbuster/core';

const fullestShare = 0.8;
const growth = 1.5;
const smallest = 64;

export class MemberIndex {
  #high: Uint32Array;
  #low: Uint32Array;
  /** 0 marks a free slot: seq starts at 1. */
  #seq: Int32Array;
  #size = 0;
  #slots: number;

  /** @param expected members to make room for at once; more are taken too */
  constructor(expected = 0) {
    this.#slots = Math.max(smallest, Math.ceil(expected / fullestShare) + 1);
    this.#high = new Uint32Array(this.#slots);
    this.#low = new Uint32Array(this.#slots);
    this.#seq = new Int32Array(this.#slots);
  }

  get size(): number {
    return this.#size;
  }

  get bytes(): number {
    return this.#slots * 12;
  }

  /** False: certainly not in. */
  has(memberKey: MemberKey): boolean {
    return this.#seq[this.#find(halfOf(memberKey, 0), halfOf(memberKey, 8))] !== 0;
  }

  add(memberKey: MemberKey, seq: number): void {
    this.#put(halfOf(memberKey, 0), halfOf(memberKey, 8), seq);
  }

  /** A chunk of the ledger's `memberKeys`: concatenated keys of 16 bytes. */
  addKeys(chunk: Uint8Array): void {
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    for (let at = 0; at + 16 <= chunk.byteLength; at += 16)
      this.#put(view.getUint32(at), view.getUint32(at + 4), 1);
  }

  #put(high: number, low: number, seq: number): void {
    if (this.#size >= this.#slots * fullestShare) this.#grow();
    const slot = this.#find(high, low);
    if (this.#seq[slot] === 0) this.#size += 1;
    this.#high[slot] = high;
    this.#low[slot] = low;
    this.#seq[slot] = seq;
  }

  /** The slot of this hash, or the free one where it belongs. */
  #find(high: number, low: number): number {
    let slot = Math.floor((high / 4_294_967_296) * this.#slots);
    while (this.#seq[slot] !== 0 && (this.#low[slot] !== low || this.#high[slot] !== high))
      slot = slot + 1 === this.#slots ? 0 : slot + 1;
    return slot;
  }

  #grow(): void {
    const [high, low, seq, slots] = [this.#high, this.#low, this.#seq, this.#slots];
    this.#slots = Math.ceil(slots * growth);
    this.#high = new Uint32Array(this.#slots);
    this.#low = new Uint32Array(this.#slots);
    this.#seq = new Int32Array(this.#slots);
    for (let i = 0; i < slots; i += 1) {
      if (seq[i] === 0) continue;
      const slot = this.#find(high[i]!, low[i]!);
      this.#high[slot] = high[i]!;
      this.#low[slot] = low[i]!;
      this.#seq[slot] = seq[i]!;
    }
  }
}

/** 32 bits from 8 hex characters. */
function halfOf(memberKey: MemberKey, at: number): number {
  return Number.parseInt(memberKey.slice(at, at + 8), 16);
}
