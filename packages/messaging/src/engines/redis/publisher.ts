/**
 * Publishing: what is asked in one tick goes as one script, up to a size that does not hold up the server. Scripts follow each other on one
 * connection, so the order of the calls is the order in the stream.
 */
import { encodeCloudEvent } from '../../cloud-event.ts';
import type { OutgoingMessage } from '../../engine.ts';
import { MessagingError } from '../../errors.ts';
import type { ScriptRunner } from './scripts.ts';

interface Call {
  left: number;
  /** The first channel that was not there. */
  missing: string | undefined;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

interface Row {
  readonly call: Call;
  readonly channel: string;
  readonly args: readonly (string | number)[];
  readonly bytes: number;
}

const ROWS_PER_SCRIPT = 500;
const BYTES_PER_SCRIPT = 2 ** 20;

export class Publisher {
  readonly #scripts: ScriptRunner;
  readonly #maxMessageBytes: number;
  readonly #now: () => number;
  #queue: Row[] = [];
  #planned = false;

  constructor(scripts: ScriptRunner, maxMessageBytes: number, now: () => number) {
    this.#scripts = scripts;
    this.#maxMessageBytes = maxMessageBytes;
    this.#now = now;
  }

  /** Resolves when the server has answered for all. Rejects with DB_MSG_UNKNOWN_CHANNEL when a stream is missing. */
  async publish(batch: readonly OutgoingMessage[]): Promise<void> {
    const encoded = batch.map((one) => this.#encode(one));
    await new Promise<void>((resolve, reject) => {
      const call: Call = { left: encoded.length, missing: undefined, resolve, reject };
      for (const one of encoded) this.#queue.push({ call, ...one });
      this.#plan();
    });
  }

  #encode({ channel, message, dueAt, priority }: OutgoingMessage): Omit<Row, 'call'> {
    const body = encodeCloudEvent(message);
    const bytes = Buffer.byteLength(body);
    if (bytes > this.#maxMessageBytes)
      throw new MessagingError(
        'DB_MSG_MESSAGE_TOO_LARGE',
        `message ${message.id} takes ${bytes} bytes; ${this.#maxMessageBytes} are allowed`,
      );
    // A length, because the server's clock measures it.
    const delay = dueAt === undefined ? '' : Math.max(0, dueAt - this.#now());
    const expiry = message.expiresAt === undefined ? '' : Date.parse(message.expiresAt);
    return { channel, bytes, args: [channel, priority ?? 0, delay, message.key ?? '', expiry, body] };
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

  /** Sends rows from an index on and returns the index after the last one sent. */
  #send(rows: readonly Row[], from: number): number {
    let end = from;
    let bytes = 0;
    while (end < rows.length && end - from < ROWS_PER_SCRIPT && bytes < BYTES_PER_SCRIPT) {
      bytes += (rows[end] as Row).bytes;
      end += 1;
    }
    const sent = rows.slice(from, end);
    this.#scripts
      .run(
        'publish',
        sent.flatMap(({ args }) => args),
      )
      .then(
        (stored) => sent.forEach((row, index) => answer(row, (stored as readonly number[])[index] === 1)),
        (error: Error) => sent.forEach(({ call }) => call.reject(error)),
      );
    return end;
  }
}

function answer({ call, channel }: Row, stored: boolean): void {
  if (!stored) call.missing ??= channel;
  call.left -= 1;
  if (call.left > 0) return;
  if (call.missing === undefined) call.resolve();
  else
    call.reject(
      new MessagingError('DB_MSG_UNKNOWN_CHANNEL', `channel "${call.missing}" does not exist on this server`),
    );
}
