/**
 * What a consumer has on hand: its hand-outs that nobody has settled, and until when their leases surely last.
 *
 * What it read from a stream itself it knows by a number, and finds at a place in lists that the number gives: the ids of entries are texts that come new
 * with each answer, and to hash one for a map cost as much as all the rest of handing its message out. What scripts lent goes by its token, a text, in a map.
 * Numbers are the connection's and never used again, so a token that was settled, or whose lease was lost, finds nothing.
 *
 * A hand-out is doubted once somebody may have ended it without telling: then the server is asked for it by itself (`lua/plain.ts`).
 */
import type { DeliveryToken } from '../../engine.ts';
import { LeasedTokens } from '../../redis/consuming.ts';

/** What an unknown number is called towards the server: the id of no entry, which it finds lost. */
export const NO_ENTRY = '0-0';

const FREE = -1;
const FIRST_PLACES = 256;

export class OnHand {
  /** At a number's place the number, or FREE; beside it what is known of it. There are at least twice as many places as are taken. */
  #numbers: number[] = [];
  #ids: string[] = [];
  #ends: number[] = [];
  #doubted: boolean[] = [];
  #mask = FIRST_PLACES - 1;
  #read = 0;
  readonly #lent = new LeasedTokens();
  readonly #nextNumber: () => number;

  constructor(nextNumber: () => number) {
    this.#nextNumber = nextNumber;
    this.#clear(FIRST_PLACES);
  }

  get size(): number {
    return this.#read + this.#lent.size;
  }

  /** Of an entry that was read; `end` is the monotonic time at which its lease is surely over. Returns its token. */
  addRead(id: string, end: number, doubted: boolean): number {
    if (this.#read * 2 > this.#mask) this.#grow();
    let number = this.#nextNumber();
    while (this.#numbers[number & this.#mask] !== FREE) number = this.#nextNumber();
    this.#put(number, id, end, doubted);
    return number;
  }

  addLent(token: string, end: number): void {
    this.#lent.add(token, end);
  }

  /** What the server calls it. */
  nameOf(token: DeliveryToken): string {
    if (typeof token === 'string') return token;
    const place = this.#placeOf(token);
    return place < 0 ? NO_ENTRY : (this.#ids[place] as string);
  }

  /** Read by this consumer, on hand and not doubted. */
  isSure(token: DeliveryToken): boolean {
    if (typeof token === 'string') return false;
    const place = this.#placeOf(token);
    return place >= 0 && this.#doubted[place] === false;
  }

  /** True when it was on hand. */
  remove(token: DeliveryToken): boolean {
    if (typeof token === 'string') return this.#lent.remove(token);
    const place = this.#placeOf(token);
    if (place < 0) return false;
    this.#numbers[place] = FREE;
    this.#ids[place] = '';
    this.#read -= 1;
    return true;
  }

  /** What was removed for a settlement of which nothing is known now. Whether it reached the server is open, so it is doubted. */
  restore(token: DeliveryToken, name: string, end: number): void {
    if (typeof token === 'string') return this.addLent(token, end);
    while (this.#numbers[token & this.#mask] !== FREE) this.#grow();
    this.#put(token, name, end, true);
  }

  /** Its lease lasts until `end` now. */
  extend(token: DeliveryToken, end: number): void {
    if (typeof token === 'string') return this.#lent.extend(token, end);
    const place = this.#placeOf(token);
    if (place >= 0) this.#ends[place] = end;
  }

  /** The server has ended what it calls so. */
  forget(name: string): void {
    if (this.#lent.remove(name)) return;
    const place = this.#numbers.findIndex((number, at) => number !== FREE && this.#ids[at] === name);
    if (place >= 0) this.remove(this.#numbers[place] as number);
  }

  /** Leases ended somewhere, and it is not known whose. */
  doubtAll(): void {
    this.#doubted.fill(true);
  }

  removeEnded(now: number): void {
    this.#lent.removeEnded(now);
    this.#numbers.forEach((number, place) => {
      if (number !== FREE && (this.#ends[place] as number) < now) this.remove(number);
    });
  }

  clear(): void {
    this.#lent.clear();
    this.#clear(FIRST_PLACES);
  }

  /** As the server calls them. */
  names(): readonly string[] {
    return [...this.#lent.tokens(), ...this.#ids.filter((_, place) => this.#numbers[place] !== FREE)];
  }

  #placeOf(number: number): number {
    const place = number & this.#mask;
    return this.#numbers[place] === number ? place : -1;
  }

  #put(number: number, id: string, end: number, doubted: boolean): void {
    const place = number & this.#mask;
    this.#numbers[place] = number;
    this.#ids[place] = id;
    this.#ends[place] = end;
    this.#doubted[place] = doubted;
    this.#read += 1;
  }

  /** Two numbers that had places of their own have them among twice as many too. */
  #grow(): void {
    const [numbers, ids, ends, doubted] = [this.#numbers, this.#ids, this.#ends, this.#doubted];
    this.#clear(2 * numbers.length);
    numbers.forEach((number, at) => {
      if (number !== FREE) this.#put(number, ids[at] as string, ends[at] as number, doubted[at] as boolean);
    });
  }

  #clear(places: number): void {
    this.#mask = places - 1;
    this.#read = 0;
    this.#numbers = new Array<number>(places).fill(FREE);
    this.#ids = new Array<string>(places).fill('');
    this.#ends = new Array<number>(places).fill(0);
    this.#doubted = new Array<boolean>(places).fill(false);
  }
}
