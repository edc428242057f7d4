/**
 * Which consumers share a subscription with order per key, and which partitions each has. The broker knows neither: a single active consumer keeps
 * two from reading one queue at once, but it is the first that came, for ever. So the consumers tell each other that they are there and work out
 * the same fair shares; the single active consumer stays the guard while they disagree for a moment.
 *
 *   a newcomer says `here` to all --> each that hears of it answers `here` to it alone, and shares anew
 *   the last will of one that died (`last-will.ts`), and every second in any case: `here` goes to it --> the broker returns that as unroutable: its
 *   connection is gone, share anew
 *   one that leaves has given up its partitions and says `gone`
 *
 * A member is named by the queue of its connection, which is exclusive: the broker deletes it with the connection. So nobody is taken for dead
 * who is only slow, and a killed process is noticed some milliseconds after the broker noticed; without its will, within a second.
 */
import { type CancelTimer, type Clock, pause } from '../../clock.ts';
import { hashOf } from './names.ts';

export interface MemberHint {
  readonly kind: 'here' | 'gone';
  readonly member: string;
}

export interface MembersParts {
  readonly clock: Clock;
  /** Undefined in `to`: to all. False: its queue is not there. Rejects when nothing is known. */
  readonly tell: (hint: MemberHint, to: string | undefined) => Promise<boolean>;
  readonly onChange: () => void;
}

const PING_MS = 1_000;
/** The broker deletes the queue of a connection right behind its last will, and in no promised time. */
const ASK_AGAIN_MS = 10;
const MOST_QUESTIONS = 10;
/** What got lost (a hint while a connection was down) is healed by saying it to all again, after so many pings. */
const TELL_ALL_EVERY = 10;

export class Members {
  readonly #parts: MembersParts;
  readonly #others = new Set<string>();
  #self: string | undefined;
  #cancel: CancelTimer | undefined;
  #untilTellAll = 0;

  constructor(parts: MembersParts) {
    this.#parts = parts;
  }

  get count(): number {
    return this.#others.size + 1;
  }

  /** Under a new name after each reconnect. */
  async join(self: string): Promise<void> {
    this.#self = self;
    this.#untilTellAll = 0;
    this.#cancel?.();
    await this.#ping();
  }

  async leave(): Promise<void> {
    this.#cancel?.();
    const self = this.#self;
    this.#self = undefined;
    if (self !== undefined) await this.#parts.tell({ kind: 'gone', member: self }, undefined).catch(() => {});
  }

  hear({ kind, member }: MemberHint): void {
    if (this.#self === undefined || member === this.#self) return;
    if (kind === 'gone') return this.#remove(member);
    if (this.#others.has(member)) return;
    this.#others.add(member);
    void this.#parts.tell({ kind: 'here', member: this.#self }, member).catch(() => {});
    this.#parts.onChange();
  }

  /** All members of this queue are said to be gone: asks each of them. */
  async doubt(queue: string): Promise<void> {
    for (let left = MOST_QUESTIONS; left > 0 && this.#self !== undefined; left -= 1) {
      const doubtful = [...this.#others].filter((one) => one.startsWith(`${queue}#`));
      if (doubtful.length === 0) return;
      await Promise.all(doubtful.map((one) => this.#ask(one)));
      await pause(this.#parts.clock, ASK_AGAIN_MS);
    }
  }

  /** The partitions of this member. */
  share(partitions: number): ReadonlySet<number> {
    if (this.#self === undefined) return new Set();
    return shareOf(this.#self, [this.#self, ...this.#others], partitions);
  }

  #remove(member: string): void {
    if (this.#others.delete(member)) this.#parts.onChange();
  }

  async #ask(other: string): Promise<void> {
    const self = this.#self;
    if (self === undefined) return;
    const isThere = await this.#parts.tell({ kind: 'here', member: self }, other).catch(() => true);
    if (!isThere) this.#remove(other);
  }

  async #ping(): Promise<void> {
    const self = this.#self;
    if (self === undefined) return;
    const { clock, tell } = this.#parts;
    await Promise.all([...this.#others].map((other) => this.#ask(other)));
    if (this.#untilTellAll === 0) {
      const isTold = await tell({ kind: 'here', member: self }, undefined).catch(() => false);
      if (isTold) this.#untilTellAll = TELL_ALL_EVERY;
    } else this.#untilTellAll -= 1;
    if (this.#self === self) this.#cancel = clock.setTimer(PING_MS, () => void this.#ping());
  }
}

/**
 * Partitions of one of the members, the same for all who know the same members: each has the whole part of `partitions / members`, and some one
 * more. A partition goes to the member with the highest hash that has room, so that most stay where they are when one comes or goes.
 */
export function shareOf(member: string, members: readonly string[], partitions: number): ReadonlySet<number> {
  const least = Math.floor(partitions / members.length);
  let withOneMore = partitions % members.length;
  const loads = new Map(members.map((one) => [one, 0]));
  const mine = new Set<number>();
  for (let partition = 0; partition < partitions; partition += 1) {
    const [owner] = members
      .filter((one) => (loads.get(one) ?? 0) < least + (withOneMore > 0 ? 1 : 0))
      .toSorted((a, b) => weightOf(b, partition) - weightOf(a, partition) || (a < b ? -1 : 1));
    const load = (loads.get(owner as string) ?? 0) + 1;
    loads.set(owner as string, load);
    if (load > least) withOneMore -= 1;
    if (owner === member) mine.add(partition);
  }
  return mine;
}

function weightOf(member: string, partition: number): number {
  return hashOf(`${partition}/${member}`);
}
