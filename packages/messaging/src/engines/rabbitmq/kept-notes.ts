/**
 * The notes of one partition, kept by whoever reads the partition. Both queues have a single active consumer and are given up together, so nobody else
 * reads these notes (but for a moment, see below), and the reader can remove what is of no use any more: the notes of a copy when it is settled, and when the first message arrives
 * that was never out, those of every copy that has not arrived (the broker gives what was returned before what is new). They stay as few as the
 * messages that came again. All processes reading one queue of notes in turn, and nobody removing any, was tried: with a kill a second
 * it had 9,000 of them after 15 seconds, and all partitions stood still waiting for it.
 *
 * The moment: the two go by two channels, and when the next reader has the partition, what it writes still comes to the former reader. So what others wrote behind our own first
 * message is left alone, and goes on to the next reader with our channel (docs/decisions/0117-a-former-reader-leaves-the-next-ones-notes-alone.md).
 *
 *   write --confirm--> in the queue --our own consumer--> in the book --settled, superseded or not there--> acknowledged
 *
 * What counts as a crash. A consumer that is killed had up to 250 messages of the partition, of which only a few were handed out, and the broker counts all of them
 * alike. Taken for crashes, a few kills made each of them suspect of killing its process, to be handled alone. So the first return
 * counts as one without proof, which makes nobody a suspect yet; from then on a hand-out is noted before it happens, and what was noted takes the place of
 * the guess. Poison is found one crash later than it could be, and whoever stands beside it is never taken for it.
 */
import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib';
import type { Clock } from '../../clock.ts';
import { answered, beginConsuming, LONGEST_ANSWER_MS } from './answered.ts';
import { isMissing } from './broker-fault.ts';
import { closed } from './closing.ts';
import { LARGEST_WINDOW } from './given-back.ts';
import { unreachable } from './link.ts';
import { decodeNotes, type Note, type Noted, type QueueNotes } from './notes.ts';

export interface KeptNotesParts {
  readonly clock: Clock;
  readonly queue: string;
  readonly model: ChannelModel;
  /** All in one message, whose id is `by`. */
  readonly write: (notes: readonly Note[], by: string) => Promise<void>;
  /** Unique in the whole subscription. */
  readonly nextMark: () => string;
  /** The queue is not there: it has to be declared again. */
  readonly onMissing: () => void;
}

/** One message of the queue. */
interface Page {
  readonly message: ConsumeMessage;
  readonly channel: Channel;
  /** Copies it still says something about. */
  left: number;
}

/** Whether it was out, and where that stands. */
interface Word {
  readonly wasOut: boolean;
  readonly page: Page;
}

interface About {
  /** By count of the hand-out, the last word on it. */
  readonly out: Map<number, Word>;
  readonly pages: Set<Page>;
  waits: Note['waits'];
  waitsOn: Page | undefined;
}

interface Reading {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class KeptNotes implements QueueNotes {
  readonly #parts: KeptNotesParts;
  readonly #book = new Map<string, About>();
  readonly #readings = new Map<string, Reading>();
  #losses = 0;
  #channel: Promise<Channel> | undefined;
  /** By which our messages are known again. */
  readonly #self: string;
  /** One of ours has come: what others wrote before it has come, too. */
  #isOursSeen = false;
  /** Of others, until one of ours tells whether they wrote it before us or after. */
  #ofOthers: (() => void)[] = [];
  /** Set once notes of other copies are of no use. */
  #wanted: ReadonlySet<string> | undefined;
  #closed = false;
  readonly #unwritten: Note[] = [];
  #writing: Promise<void> | undefined;

  constructor(parts: KeptNotesParts) {
    this.#parts = parts;
    this.#self = parts.nextMark();
  }

  get edition(): number {
    return this.#losses;
  }

  /** What is written in one turn is one message. */
  async write(notes: readonly Note[]): Promise<void> {
    // What is said of a message that stays here comes back, and is removed when it has served; a farewell is for the next reader.
    if (notes.some(({ out, waits }) => out || waits)) await this.#open();
    for (const note of notes) this.#unwritten.push(note);
    this.#writing ??= Promise.resolve().then(() => {
      this.#writing = undefined;
      return this.#parts.write(this.#unwritten.splice(0), this.#self);
    });
    return this.#writing;
  }

  /** A mark written behind all notes comes back behind all notes. */
  async read(): Promise<void> {
    await this.#open();
    const mark = this.#parts.nextMark();
    const seen = new Promise<void>((resolve, reject) => {
      this.#readings.set(mark, { resolve, reject });
    });
    // It may be rejected while the mark is still being written.
    seen.catch(() => {});
    try {
      await this.#parts.write([{ copy: mark, count: 0, mark: true }], this.#self);
      const isSeen = await answered(
        this.#parts.clock,
        LONGEST_ANSWER_MS,
        seen.then(() => true),
      );
      if (!isSeen)
        throw unreachable(
          `the notes in "${this.#parts.queue}" do not come: as a rule because another still reads them`,
        );
    } finally {
      this.#readings.delete(mark);
    }
  }

  about(copy: string, count: number): Noted {
    const about = this.#book.get(copy);
    let noted = 0;
    for (const [one, { wasOut }] of about?.out ?? []) if (wasOut && one < count) noted += 1;
    const guessed = count > 0 && about?.out.get(0) === undefined ? 1 : 0;
    const crashes = Math.max(guessed, noted);
    return { crashes, waits: about?.waits };
  }

  forget(copy: string): void {
    const about = this.#book.get(copy);
    if (!about) return;
    this.#book.delete(copy);
    for (const page of about.pages) this.#leave(page);
  }

  onlyThese(copies: ReadonlySet<string>): void {
    this.#wanted = copies;
    for (const copy of this.#book.keys()) if (!copies.has(copy)) this.forget(copy);
  }

  async close(): Promise<void> {
    this.#closed = true;
    const channel = await this.#channel?.catch(() => undefined);
    if (channel) await closed(channel);
  }

  #open(): Promise<Channel> {
    if (this.#closed) return Promise.reject(unreachable('the partition was given up'));
    if (this.#channel) return this.#channel;
    const opening = this.#openChannel().catch((error: unknown) => {
      // There may be another one by now.
      if (this.#channel === opening) this.#channel = undefined;
      if (isMissing(error)) this.#parts.onMissing();
      throw unreachable(`the notes cannot be read: ${(error as Error).message}`, error);
    });
    this.#channel = opening;
    return opening;
  }

  async #openChannel(): Promise<Channel> {
    const channel = await this.#parts.model.createChannel();
    // Given up without an answer, it still closes a minute later, when another has taken its place.
    let isOurs = true;
    let hasEnded = false;
    channel.on('error', () => {});
    channel.on('close', () => {
      hasEnded = true;
      if (isOurs) this.#lost();
    });
    const leave = (): void => void channel.close().catch(() => {});
    const onMessage = (message: ConsumeMessage): void => {
      if (isOurs) this.#arrive(message, channel);
    };
    try {
      // Else a quorum queue lends 2,000, and what is left alone is among them.
      await channel.prefetch(LARGEST_WINDOW);
      await beginConsuming({ ...this.#parts, channel }, onMessage, leave);
      if (hasEnded) throw new Error('their channel ended as soon as it had begun');
    } catch (error) {
      isOurs = false;
      leave();
      throw error;
    }
    return channel;
  }

  #lost(): void {
    this.#channel = undefined;
    this.#losses += 1;
    this.#book.clear();
    this.#isOursSeen = false;
    this.#ofOthers = [];
    const readings = [...this.#readings.values()];
    this.#readings.clear();
    for (const { reject } of readings) reject(unreachable('the channel of the notes closed'));
  }

  #arrive(message: ConsumeMessage, channel: Channel): void {
    const take = (): void => this.#take(message, channel);
    if (message.properties.messageId === this.#self) {
      this.#isOursSeen = true;
      for (const takeOther of this.#ofOthers.splice(0)) takeOther();
      take();
    } else if (!this.#isOursSeen) this.#ofOthers.push(take);
  }

  #take(message: ConsumeMessage, channel: Channel): void {
    const notes = decodeNotes(message);
    const page: Page = { message, channel, left: 1 };
    for (const note of notes) {
      if (note.mark) this.#readings.get(note.copy)?.resolve();
      else if (!this.#wanted || this.#wanted.has(note.copy)) this.#add(note, page);
    }
    this.#leave(page);
  }

  #add({ copy, count, out, waits }: Note, page: Page): void {
    const about = this.#book.get(copy) ?? {
      out: new Map(),
      pages: new Set(),
      waits: undefined,
      waitsOn: undefined,
    };
    this.#book.set(copy, about);
    const formerWord = about.out.get(count)?.page;
    about.out.set(count, { wasOut: out === true, page });
    if (!about.pages.has(page)) page.left += 1;
    about.pages.add(page);
    if (waits) {
      const former = about.waitsOn;
      about.waits = waits;
      about.waitsOn = page;
      if (former !== page) this.#drop(former, about);
    }
    if (formerWord !== about.waitsOn && ![...about.out.values()].some((word) => word.page === formerWord))
      this.#drop(formerWord, about);
  }

  /** A later one says all that this one said of the copy. */
  #drop(page: Page | undefined, about: About): void {
    if (page && about.pages.delete(page)) this.#leave(page);
  }

  #leave(page: Page): void {
    page.left -= 1;
    if (page.left > 0) return;
    try {
      page.channel.ack(page.message);
    } catch {
      // The channel has closed: it comes again, and is of no use then either.
    }
  }
}
