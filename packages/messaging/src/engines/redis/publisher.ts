/**
 * Publishing: what is asked in one tick goes together, in scripts that follow each other on one connection, so the order of the calls is the order in the stream. A call
 * is in one script, as far as that does not hold up the server: it is stored whole, or not at all.
 */
import { encodeCloudEvent } from '../../cloud-event.ts';
import type { OutgoingMessage } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import { refuseAbove } from '../../message-size.ts';
import type { StreamScripts } from './scripts.ts';

interface Call {
  left: number;
  /** The first channel that was not there. */
  missing: string | undefined;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

interface Row {
  readonly call: Call;
  readonly one: OutgoingMessage;
  readonly body: string;
  readonly bytes: number;
}

const ROWS_PER_SCRIPT = 500;
const BYTES_PER_SCRIPT = 2 ** 20;
/**
 * What many publish at once goes in several scripts: the server works on one while the answers of the last are taken and the next messages made. With all of it in one,
 * 128 publishers and the server took turns (42,000 messages a second instead of 64,000). Kept between calls only.
 */
const BYTES_OF_CALLS = 2 ** 15;

export class Publisher {
  readonly #scripts: StreamScripts;
  readonly #maxMessageBytes: number;
  readonly #now: () => number;
  readonly #isPlainChannel: (channel: string) => boolean;
  #queue: Row[] = [];
  #planned = false;

  constructor(
    scripts: StreamScripts,
    settings: {
      readonly maxMessageBytes: number;
      readonly now: () => number;
      /** Declared here without keys and priorities. */
      readonly isPlainChannel: (channel: string) => boolean;
    },
  ) {
    this.#scripts = scripts;
    this.#maxMessageBytes = settings.maxMessageBytes;
    this.#now = settings.now;
    this.#isPlainChannel = settings.isPlainChannel;
  }

  /** Resolves when the server has answered for all. Rejects with DB_MSG_UNKNOWN_CHANNEL when a stream is missing. */
  async publish(batch: readonly OutgoingMessage[]): Promise<void> {
    const bodies = batch.map(({ message }) => encodeCloudEvent(message));
    const bytes = bodies.map((body) => Buffer.byteLength(body));
    batch.forEach(({ message }, index) =>
      refuseAbove(this.#maxMessageBytes, bytes[index] as number, message.id),
    );
    await new Promise<void>((resolve, reject) => {
      const call: Call = { left: batch.length, missing: undefined, resolve, reject };
      batch.forEach((one, index) =>
        this.#queue.push({ call, one, body: bodies[index] as string, bytes: bytes[index] as number }),
      );
      this.#plan();
    });
  }

  #plan(): void {
    if (this.#planned) return;
    this.#planned = true;
    queueMicrotask(() => {
      this.#planned = false;
      const rows = this.#queue;
      this.#queue = [];
      for (let from = 0; from < rows.length; ) from = this.#send(rows, from);
    });
  }

  /** Sends rows from an index on, those of one channel that are plain or those that are not, and returns the index after the last one sent. */
  #send(rows: readonly Row[], from: number): number {
    const first = rows[from] as Row;
    const plain = this.#isPlain(first.one);
    const sent: Row[] = [];
    let bytes = 0;
    for (
      let at = from;
      at < rows.length && sent.length < ROWS_PER_SCRIPT && bytes < BYTES_PER_SCRIPT;
      at += 1
    ) {
      const row = rows[at] as Row;
      if (bytes >= BYTES_OF_CALLS && row.call !== rows[at - 1]?.call) break;
      if (this.#isPlain(row.one) !== plain || (plain && row.one.channel !== first.one.channel)) break;
      sent.push(row);
      bytes += row.bytes;
    }
    const stored = plain ? this.#append(first.one.channel, sent) : this.#publish(sent);
    stored.then(
      (results) => sent.forEach((row, index) => answer(row, results[index] === 1)),
      (error: Error) => sent.forEach(({ call }) => call.reject(error)),
    );
    return from + sent.length;
  }

  /** What has nothing but its body for the server to know. */
  #isPlain({ channel, dueAt, priority }: OutgoingMessage): boolean {
    return dueAt === undefined && (priority ?? 0) === 0 && this.#isPlainChannel(channel);
  }

  async #append(channel: string, rows: readonly Row[]): Promise<readonly number[]> {
    const args = ['1', `${this.#scripts.prefix}:stream:${channel}`];
    for (const { body } of rows) args.push(body);
    const stored = (await this.#scripts.runPlain('append', args)) as number;
    return rows.map(() => stored);
  }

  #publish(rows: readonly Row[]): Promise<readonly number[]> {
    const args = rows.flatMap(({ one, body }) => this.#argumentsOf(one, body));
    return this.#scripts.run('publish', args) as Promise<readonly number[]>;
  }

  #argumentsOf({ channel, message, dueAt, priority }: OutgoingMessage, body: string): (string | number)[] {
    // A length, because the server's clock measures it.
    const delay = dueAt === undefined ? '' : Math.max(0, dueAt - this.#now());
    const expiry = message.expiresAt === undefined ? '' : Date.parse(message.expiresAt);
    return [channel, priority ?? 0, delay, message.key ?? '', expiry, body];
  }
}

function answer({ call, one }: Row, stored: boolean): void {
  if (!stored) call.missing ??= one.channel;
  call.left -= 1;
  if (call.left > 0) return;
  if (call.missing === undefined) call.resolve();
  else
    call.reject(
      new MessagingError('DB_MSG_UNKNOWN_CHANNEL', `channel "${call.missing}" does not exist on this server`),
    );
}
