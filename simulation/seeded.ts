/**
 * Randomness of a simulated run: sfc32, seeded by a text. Every part of a run draws from a stream of its own (`stream`), so that a fault that
 * is drawn once more does not shift what the members do. Not for anything that has to be unpredictable.
 */

export class Seeded {
  readonly #name: string;
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(name: string) {
    this.#name = name;
    let hash = 2_166_136_261;
    const mix = (): number => {
      for (let i = 0; i < name.length; i += 1) hash = Math.imul(hash ^ name.charCodeAt(i), 16_777_619);
      hash = Math.imul(hash ^ (hash >>> 15), 2_246_822_519);
      return hash | 0;
    };
    this.#a = mix();
    this.#b = mix();
    this.#c = mix();
    for (let i = 0; i < 12; i += 1) this.#next();
  }

  /** A stream of its own, the same one for the same name. */
  stream(name: string): Seeded {
    return new Seeded(`${this.#name}/${name}`);
  }

  /** An integer in from..to, both included. */
  integer(from: number, to: number): number {
    return from + Math.floor(this.share() * (to - from + 1));
  }

  /** 0 <= share < 1 */
  share(): number {
    return (this.#next() >>> 0) / 4_294_967_296;
  }

  chance(probability: number): boolean {
    return this.share() < probability;
  }

  pick<T>(from: readonly T[]): T {
    const picked = from[this.integer(0, from.length - 1)];
    if (picked === undefined) throw new RangeError('nothing to pick from');
    return picked;
  }

  /** Port of the server. */
  bytes(length: number): Uint8Array {
    return this.fill(new Uint8Array(length));
  }

  /** Port of the messaging package. */
  fill(bytes: Uint8Array): Uint8Array {
    for (let i = 0; i < bytes.length; i += 1) bytes[i] = this.#next() & 0xff;
    return bytes;
  }

  #next(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum;
  }
}
