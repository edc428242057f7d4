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

/** A token of a script ends with the key, where order is kept: level, place, consumer, number, key. */
function keyOfLent(token: string): string {
  let at = -1;
  for (let bar = 0; bar < 4; bar += 1) at = token.indexOf('|', at + 1);
  return token.slice(at + 1);
}

export class OnHand {
  /** At a number's place the number, or FREE; beside it what is known of it. There are at least twice as many places as are taken. */
  #numbers: number[] = [];
  #ids: string[] = [];
  #ends: number[] = [];
  #doubted: boolean[] = [];
  /** '' where there is none, or nobody asks. */
  #keys: string[] = [];
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
  addRead(id: string, end: number, doubted: boolean, key = ''): number {
    if (this.#read * 2 > this.#mask) this.#grow();
    let number = this.#nextNumber();
    while (this.#numbers[number & this.#mask] !== FREE) number = this.#nextNumber();
    this.#put(number, id, end, doubted, key);
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

  /** Whose order a message keeps: known while it is on hand; '' for none. */
  keyOf(token: DeliveryToken): string {
    if (typeof token === 'string') return this.#lent.has(token) ? keyOfLent(token) : '';
    const place = this.#placeOf(token);
    return place < 0 ? '' : (this.#keys[place] as string);
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
    this.#keys[place] = '';
    this.#read -= 1;
    return true;
  }

  /** What was removed for a settlement of which nothing is known now. Whether it reached the server is open, so it is doubted. */
  restore(token: DeliveryToken, name: string, end: number, key: string): void {
    if (typeof token === 'string') return this.addLent(token, end);
    while (this.#numbers[token & this.#mask] !== FREE) this.#grow();
    this.#put(token, name, end, true, key);
  }

  /** Its lease lasts until `end` now. */
  extend(token: DeliveryToken, end: number): void {
    if (typeof token === 'string') return this.#lent.extend(token, end);
    const place = this.#placeOf(token);
    if (place >= 0) this.#ends[place] = end;
  }

  /** The token of what the server calls so. */
  tokenOf(name: string): DeliveryToken | undefined {
    if (this.#lent.has(name)) return name;
    const place = this.#numbers.findIndex((number, at) => number !== FREE && this.#ids[at] === name);
    return place < 0 ? undefined : this.#numbers[place];
  }

  /** Leases ended somewhere, and it is not known whose. */
  doubtAll(): void {
    this.#doubted.fill(true);
  }

  /** Whose lease is surely over. */
  ended(now: number): readonly DeliveryToken[] {
    const read = this.#numbers.filter(
      (number, place) => number !== FREE && (this.#ends[place] as number) < now,
    );
    return [...this.#lent.ended(now), ...read];
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

  #put(number: number, id: string, end: number, doubted: boolean, key: string): void {
    const place = number & this.#mask;
    this.#numbers[place] = number;
    this.#ids[place] = id;
    this.#ends[place] = end;
    this.#doubted[place] = doubted;
    this.#keys[place] = key;
    this.#read += 1;
  }

  /** Two numbers that had places of their own have them among twice as many too. */
  #grow(): void {
    const [numbers, ids, ends, doubted, keys] = [
      this.#numbers,
      this.#ids,
      this.#ends,
      this.#doubted,
      this.#keys,
    ];
    this.#clear(2 * numbers.length);
    numbers.forEach((number, at) => {
      if (number !== FREE)
        this.#put(number, ids[at] as string, ends[at] as number, doubted[at] as boolean, keys[at] as string);
    });
  }

  #clear(places: number): void {
    this.#mask = places - 1;
    this.#read = 0;
    this.#numbers = new Array<number>(places).fill(FREE);
    this.#ids = new Array<string>(places).fill('');
    this.#ends = new Array<number>(places).fill(0);
    this.#doubted = new Array<boolean>(places).fill(false);
    this.#keys = new Array<string>(places).fill('');
  }
}
