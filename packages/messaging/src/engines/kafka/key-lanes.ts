/**
 * The local order of one partition: what may be handed out now, and per key what has to wait behind another. Each message has a rank, the place it
 * had in its log, and keeps it wherever it is copied to: a lane hands out its lowest rank first, so a retry or a redrive is back in its place
 * by itself, also in another process.
 *
 *   lane of a key:  [ lowest rank: ready | out | waits for a time | moved, its copy is on the way | parking ]  [ the others wait ]
 */
export type Stage = 'ready' | 'waiting' | 'out' | 'moved' | 'parking' | 'gone';

export interface Ranked {
  /** Undefined on channels without order. */
  readonly key: string | undefined;
  readonly rank: number;
  stage: Stage;
}

/** What a key may not pass: the rank of its lowest dead letter that holds it. */
export type HeldFrom = (key: string) => number | undefined;

export class KeyLanes<E extends Ranked> {
  readonly #lanes = new Map<string, E[]>();
  readonly #heldFrom: HeldFrom;

  constructor(heldFrom: HeldFrom) {
    this.#heldFrom = heldFrom;
  }

  add(key: string, entry: E): void {
    const lane = this.#lanes.get(key);
    if (!lane) return void this.#lanes.set(key, [entry]);
    let at = lane.length;
    while (at > 0 && (lane[at - 1] as E).rank > entry.rank) at -= 1;
    lane.splice(at, 0, entry);
  }

  /** Another copy of the same place: one that was moved, or that is there twice after a crash. */
  find(key: string, rank: number): E | undefined {
    return this.#lanes.get(key)?.find((one) => one.rank === rank);
  }

  /** Whether another copy of its place is in the lane. */
  hasOther(key: string, entry: E): boolean {
    return this.#lanes.get(key)?.some((one) => one !== entry && one.rank === entry.rank) ?? false;
  }

  remove(key: string, entry: E): void {
    const lane = this.#lanes.get(key);
    if (!lane) return;
    const at = lane.indexOf(entry);
    if (at >= 0) lane.splice(at, 1);
    if (lane.length === 0) this.#lanes.delete(key);
  }

  /** What the key may hand out now; nothing while its first waits, is out or may not pass a dead letter. */
  head(key: string): E | undefined {
    const entry = this.#lanes.get(key)?.[0];
    return entry?.stage === 'ready' && !this.isHeld(entry) ? entry : undefined;
  }

  isHeld({ key, rank }: E): boolean {
    const held = key === undefined ? undefined : this.#heldFrom(key);
    return held !== undefined && held < rank;
  }

  /** Those at the front of the lane that are ready and may not pass a dead letter; from here on they count as being parked. */
  takeHeld(key: string): readonly E[] {
    const held: E[] = [];
    for (const entry of this.#lanes.get(key) ?? []) {
      if (entry.stage === 'parking') continue;
      if (entry.stage !== 'ready' || !this.isHeld(entry)) break;
      entry.stage = 'parking';
      held.push(entry);
    }
    return held;
  }

  keys(): readonly string[] {
    return [...this.#lanes.keys()];
  }

  /** Those that wait for another of their key. */
  waitingCount(): number {
    let count = 0;
    for (const lane of this.#lanes.values()) {
      const first = lane[0] as E;
      count += first.stage === 'ready' && this.isHeld(first) ? lane.length : lane.length - 1;
    }
    return count;
  }
}
