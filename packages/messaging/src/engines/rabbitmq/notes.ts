/**
 * Notes beside a message that stays where it is. A quorum queue counts every return of a message in `x-delivery-count`, whether its consumer
 * died or gave it back politely, and cannot store a changed message in the same place. So what must outlive this process goes into
 * a small queue of its own, and is read when the broker says that a message was out before:
 *
 *   released  this return is no crash, do not count it
 *   waits     a retry that keeps its place in its key: the state, and the time before which it is not handed out
 */
import type { ConsumeMessage, GetMessage } from 'amqplib';
import type { Parcel, Received } from './wire.ts';

export interface Note {
  /** Id and turn of the copy it belongs to. */
  readonly copy: string;
  /** `x-delivery-count` of the hand-out it ends. */
  readonly count: number;
  readonly waits?: { readonly state: string; readonly dueAt: number };
}

/** Names one copy of a message: each retry and redrive makes another, and the broker counts anew. */
export function copyIdOf(amqp: ConsumeMessage | GetMessage, { message, note }: Received): string {
  return `${message?.id ?? (amqp.properties.messageId as string | undefined) ?? ''}#${note.turn ?? 0}`;
}

/** Earlier hand-outs of this copy, as quorum queues count them. */
export function deliveryCountOf({ properties }: ConsumeMessage | GetMessage): number {
  return (properties.headers?.['x-delivery-count'] as number | undefined) ?? 0;
}

/** A note nobody asked for within it belongs to a message that is long settled. */
export const NOTE_TTL_MS = 7 * 86_400_000;

export function encodeNotes(notes: readonly Note[]): Parcel {
  return {
    content: Buffer.from(JSON.stringify(notes)),
    options: { persistent: true, contentType: 'application/json' },
  };
}

export interface Noted {
  /** Returns that were no crash. */
  readonly released: number;
  readonly waits: Note['waits'];
}

/** The notes of one subscription as they were when last read. */
export class Notebook {
  #released = new Map<string, Set<number>>();
  #waits = new Map<string, NonNullable<Note['waits']>>();

  read(messages: readonly ConsumeMessage[]): void {
    this.#released = new Map();
    this.#waits = new Map();
    for (const { content } of messages)
      for (const note of JSON.parse(content.toString()) as Note[]) this.add(note);
  }

  add({ copy, count, waits }: Note): void {
    const counts = this.#released.get(copy) ?? new Set();
    if (!waits) this.#released.set(copy, counts.add(count));
    else this.#waits.set(copy, waits);
  }

  about(copy: string, count: number): Noted {
    const counts = this.#released.get(copy) ?? new Set<number>();
    return {
      released: [...counts].filter((one) => one < count).length,
      waits: this.#waits.get(copy),
    };
  }
}
