/**
 * Fresh salts for entries, drawn from the randomness port some hundreds at a time: the bytes become text once for all of them, and a salt is a
 * slice of that text. A call and a conversion for each cost 1 us of the thread that serves.
 */
import type { Randomness } from '../randomness.ts';

const saltBytes = 16;
const saltsADraw = 256;

export class Salts {
  readonly #randomness: Randomness;
  #text = '';
  #used = 0;

  constructor(randomness: Randomness) {
    this.#randomness = randomness;
  }

  /** 32 hex characters that nobody had before. */
  next(): string {
    if (this.#used === this.#text.length) {
      this.#text = Buffer.from(this.#randomness.bytes(saltBytes * saltsADraw)).toString('hex');
      this.#used = 0;
    }
    this.#used += saltBytes * 2;
    return this.#text.slice(this.#used - saltBytes * 2, this.#used);
  }
}
