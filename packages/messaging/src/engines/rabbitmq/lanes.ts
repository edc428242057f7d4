/**
 * The local order of a subscription: what is ready to be handed out, and per key what waits behind the one that is out, put off or dead.
 *
 *   no lane --add--> active --advance--> the next one is active, or the lane is gone
 *                      '-- block (its dead letter stands for it) --resume or unblock--> active
 */
export interface Keyed {
  /** Undefined on channels without order. */
  readonly key: string | undefined;
}

interface Lane<E> {
  waiting: E[];
  blocked: boolean;
}

export class Lanes<E extends Keyed> {
  readonly #ready: E[] = [];
  readonly #lanes = new Map<string, Lane<E>>();

  add(entry: E): void {
    if (entry.key === undefined) return void this.#ready.push(entry);
    const lane = this.#lanes.get(entry.key);
    if (lane) return void lane.waiting.push(entry);
    this.#lanes.set(entry.key, { waiting: [], blocked: false });
    this.#ready.push(entry);
  }

  /** Takes the lane without being ready yet; false when others were before it, and then it waits behind them. */
  hold(entry: E): boolean {
    if (entry.key === undefined) return true;
    const lane = this.#lanes.get(entry.key);
    if (lane) lane.waiting.push(entry);
    else this.#lanes.set(entry.key, { waiting: [], blocked: false });
    return !lane;
  }

  /** The same message again, before everything else; it still holds its lane. */
  again(entry: E): void {
    this.#ready.unshift(entry);
  }

  next(): E | undefined {
    return this.#ready.shift();
  }

  advance(key: string | undefined): void {
    const lane = key === undefined ? undefined : this.#lanes.get(key);
    if (key === undefined || !lane || lane.blocked) return;
    const next = lane.waiting.shift();
    if (next) this.#ready.push(next);
    else this.#lanes.delete(key);
  }

  block(key: string): void {
    const lane = this.#lanes.get(key);
    if (lane) lane.blocked = true;
    else this.#lanes.set(key, { waiting: [], blocked: true });
  }

  /** The message that the key waited for is back: it goes first. */
  resume(key: string, entry: E): void {
    const lane = this.#lanes.get(key);
    if (!lane?.blocked) return this.add(entry);
    lane.blocked = false;
    this.#ready.unshift(entry);
  }

  unblock(key: string): void {
    const lane = this.#lanes.get(key);
    if (!lane?.blocked) return;
    lane.blocked = false;
    this.advance(key);
  }

  blockedKeys(): readonly string[] {
    return [...this.#lanes].filter(([, lane]) => lane.blocked).map(([key]) => key);
  }

  /** Ends the lane and gives what waited in it, oldest first. */
  takeLane(key: string): readonly E[] {
    const waiting = this.#lanes.get(key)?.waiting ?? [];
    this.#lanes.delete(key);
    return waiting;
  }

  /** Everything that is not out. */
  all(): readonly E[] {
    return [...this.#ready, ...[...this.#lanes.values()].flatMap(({ waiting }) => waiting)];
  }

  /** Everything that is not out, and forgets it. */
  clear(): readonly E[] {
    const all = this.all();
    this.#ready.length = 0;
    this.#lanes.clear();
    return all;
  }

  get readyCount(): number {
    return this.#ready.length;
  }

  get waitingCount(): number {
    let count = 0;
    for (const { waiting } of this.#lanes.values()) count += waiting.length;
    return count;
  }
}
