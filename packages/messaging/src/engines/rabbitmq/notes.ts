/**
 * Notes beside a message that stays where it is. A quorum queue counts every return of a message in `x-delivery-count`, whether its consumer
 * died or gave it back politely, and whether it was handed out or only waited in the consumer's memory; and it cannot store a changed message in the
 * same place. So what must outlive this process goes into a small queue of its own, and is read when the broker says that a message was out before:
 *
 *   released  this return is no crash, do not count it
 *   out       it is handed out, and not for the first time: a return without `released` or `waits` is a crash. Only with order per key, see `kept-notes.ts`
 *   waits     a retry that keeps its place in its key: the state, and the time before which it is not handed out
 *
 * The last of them about a hand-out counts.
 */
import type { ConsumeMessage, GetMessage } from 'amqplib';
import { areTexts, fieldsOf, numberOf, readJson } from './read-json.ts';
import type { Parcel, Received } from './wire.ts';

/** One of a copy in what is written together. */
export interface Note {
  /** Id and turn of the copy it belongs to. */
  readonly copy: string;
  /** `x-delivery-count` of the hand-out that it is about. */
  readonly count: number;
  readonly out?: true;
  readonly waits?: { readonly state: string; readonly dueAt: number };
  /** Says nothing, and comes behind what was written before. */
  readonly mark?: true;
}

/** The notes that belong to one queue, as its consumer uses them. */
export interface QueueNotes {
  /** Resolves when they are stored. */
  write(notes: readonly Note[]): Promise<void>;
  /** Changes when what was read is forgotten, because the channel has closed: it has to be read again. */
  readonly edition: number;
  /** Resolves when everything is known that was written before, by anybody but a reader of the same queue that came later (`kept-notes.ts`). */
  read(): Promise<void>;
  about(copy: string, count: number): Noted;
  /** The copy is settled: what is noted about it may go. */
  forget(copy: string): void;
  /** Every copy that was ever returned has arrived by now, and these are the ones not settled yet. */
  onlyThese(copies: ReadonlySet<string>): void;
  close(): Promise<void>;
}

export interface Noted {
  /** Hand-outs that ended in a crash. */
  readonly crashes: number;
  readonly waits: Note['waits'];
}

/** Names one copy of a message: each retry and redrive makes another, and the broker counts anew. */
export function copyIdOf(amqp: ConsumeMessage | GetMessage, { message, note }: Received): string {
  return `${message?.id ?? (amqp.properties.messageId as string | undefined) ?? ''}#${note.turn ?? 0}`;
}

/** Earlier hand-outs of this copy, as quorum queues count them. Before the first return the header is whatever its publisher put there. */
export function deliveryCountOf({ properties }: ConsumeMessage | GetMessage): number {
  return numberOf(properties.headers?.['x-delivery-count']) ?? 0;
}

/** A note nobody asked for within it belongs to a message that is long settled. */
export const NOTE_TTL_MS = 7 * 86_400_000;

/** `by`: the reader that writes them, where one of several has to know its own again (`kept-notes.ts`). */
export function encodeNotes(notes: readonly Note[], by?: string): Parcel {
  return {
    content: Buffer.from(JSON.stringify(notes)),
    options: {
      persistent: true,
      contentType: 'application/json',
      ...(by === undefined ? {} : { messageId: by }),
    },
  };
}

/** Those that can be read: one that is missing costs a guess, and nobody must be able to stop a partition by what he writes there. */
export function decodeNotes({ content }: ConsumeMessage): readonly Note[] {
  const found = readJson(content);
  return Array.isArray(found) ? found.filter(isNote) : [];
}

function isNote(found: unknown): found is Note {
  const fields = fieldsOf(found);
  const { count, waits } = fields;
  const wait = fieldsOf(waits);
  const isWait = areTexts(wait, 'state') && Number.isFinite(wait.dueAt);
  return areTexts(fields, 'copy') && Number.isFinite(count) && (waits === undefined || isWait);
}

export interface SharedNotesParts {
  readonly write: (notes: readonly Note[]) => Promise<void>;
  /** Looks through all of them. */
  readonly browse: (look: (messages: readonly ConsumeMessage[]) => void) => Promise<void>;
}

/**
 * Of a queue that several consumers read side by side: as they were when last read. Nobody can tell when one is of no use any more, so they
 * stay until they are too old; there are few, because without order per key only what is put back politely needs one.
 */
export class SharedNotes implements QueueNotes {
  readonly edition = 0;
  readonly #parts: SharedNotesParts;
  #released = new Map<string, Set<number>>();

  constructor(parts: SharedNotesParts) {
    this.#parts = parts;
  }

  write(notes: readonly Note[]): Promise<void> {
    return this.#parts.write(notes);
  }

  read(): Promise<void> {
    return this.#parts.browse((messages) => {
      this.#released = new Map();
      for (const { copy, count } of messages.flatMap(decodeNotes)) {
        const counts = this.#released.get(copy) ?? new Set();
        this.#released.set(copy, counts.add(count));
      }
    });
  }

  about(copy: string, count: number): Noted {
    const released = [...(this.#released.get(copy) ?? [])].filter((one) => one < count).length;
    return { crashes: count - released, waits: undefined };
  }

  forget(): void {}

  onlyThese(): void {}

  async close(): Promise<void> {}
}
