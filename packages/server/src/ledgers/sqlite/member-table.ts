/**
 * Where the entry of a member may be: an open-addressed table from 32 bits of the member key to the seq, 8 bytes a slot. A key is an HMAC, so its
 * bits are spread evenly and need no hash. Members share 32 bits now and then (one of 4,000 at a million), so a seq is where to look, never an
 * answer: whoever asks compares the row. For the same reason nothing is ever taken out, not even after a rollback.
 *
 * It grows by half, a few slots with every `add`: moving a million at once would hold the writer up for 50 ms.
 */
const fullest = 0.75;
const growth = 1.5;
const smallest = 64;
/** More than `1 / (fullest * (growth - 1))`, so that the old slots are moved long before the new ones are full. */
const movedAtOnce = 4;

const nobody: readonly number[] = [];

export class MemberTable {
  /** Pairs of hash and seq; seq 0 marks a free slot. */
  #slots: Int32Array;
  #size = 0;
  /** The table before, while it is moved; `#moved` of its slots are. It is read until all are. */
  #old: Int32Array | null = null;
  #moved = 0;

  /** @param expected members to make room for at once; more are taken too */
  constructor(expected = 0) {
    this.#slots = new Int32Array(2 * Math.max(smallest, Math.ceil(expected / fullest) + 1));
  }

  get bytes(): number {
    return this.#slots.byteLength + (this.#old?.byteLength ?? 0);
  }

  add(memberKey: Uint8Array, seq: number): void {
    if (this.#size >= (this.#slots.length / 2) * fullest) this.#grow();
    this.#size++;
    put(this.#slots, hashOf(memberKey), seq);
    if (this.#old !== null) this.#move(this.#old);
  }

  /** Every seq at which this member's entry may be; mostly none. */
  seqsOf(memberKey: Uint8Array): readonly number[] {
    const hash = hashOf(memberKey);
    const found = find(this.#slots, hash, nobody);
    return this.#old === null ? found : find(this.#old, hash, found);
  }

  #grow(): void {
    this.#old = this.#slots;
    this.#moved = 0;
    this.#slots = new Int32Array(2 * Math.ceil((this.#old.length / 2) * growth));
  }

  #move(old: Int32Array): void {
    const end = Math.min(old.length, this.#moved + 2 * movedAtOnce);
    for (; this.#moved < end; this.#moved += 2) {
      const seq = old[this.#moved + 1] as number;
      if (seq !== 0) put(this.#slots, old[this.#moved] as number, seq);
    }
    if (this.#moved === old.length) this.#old = null;
  }
}

function hashOf(key: Uint8Array): number {
  return (
    (key[0] as number) | ((key[1] as number) << 8) | ((key[2] as number) << 16) | ((key[3] as number) << 24)
  );
}

function slotOf(slots: Int32Array, hash: number): number {
  return 2 * Math.floor(((hash >>> 0) / 4_294_967_296) * (slots.length / 2));
}

function put(slots: Int32Array, hash: number, seq: number): void {
  let slot = slotOf(slots, hash);
  while (slots[slot + 1] !== 0) slot = slot + 2 === slots.length ? 0 : slot + 2;
  slots[slot] = hash;
  slots[slot + 1] = seq;
}

function find(slots: Int32Array, hash: number, before: readonly number[]): readonly number[] {
  let found = before;
  for (let slot = slotOf(slots, hash); slots[slot + 1] !== 0; slot = slot + 2 === slots.length ? 0 : slot + 2)
    if (slots[slot] === hash) found = [...found, slots[slot + 1] as number];
  return found;
}
