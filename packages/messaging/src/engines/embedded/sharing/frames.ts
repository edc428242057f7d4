/** Frames on a stream: four bytes of length, then that many bytes of JSON in UTF-8. JSON, because the other end may be anybody: a text can only be refused. */
import type { Socket } from 'node:net';

const LENGTH_BYTES = 4;

export class FrameError extends Error {
  override readonly name = 'FrameError';
}

export function encodeFrame(value: unknown): Buffer {
  const text = JSON.stringify(value);
  const bytes = Buffer.byteLength(text);
  const frame = Buffer.allocUnsafe(LENGTH_BYTES + bytes);
  frame.writeUInt32BE(bytes, 0);
  frame.write(text, LENGTH_BYTES);
  return frame;
}

/** Cuts a stream into frames, however it arrives. */
export class FrameReader {
  readonly #limit: number;
  #chunks: Buffer[] = [];
  #length = 0;
  /** Bytes of the frame under way with its length in front; known once those four are here. */
  #wanted = LENGTH_BYTES;

  /** `limit`: largest frame taken, bytes. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The values that are complete with this chunk. Throws FrameError; after that the stream has no meaning any more. */
  read(chunk: Buffer): unknown[] {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    const values: unknown[] = [];
    // Joined only when a frame is complete: a large one comes in thousands of chunks.
    while (this.#length >= this.#wanted) {
      const all = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
      const bytes = all.readUInt32BE(0);
      if (bytes > this.#limit)
        throw new FrameError(`a frame of ${bytes} bytes; at most ${this.#limit} are taken`);
      const end = LENGTH_BYTES + bytes;
      const isComplete = all.length >= end;
      if (isComplete) values.push(parse(all.toString('utf8', LENGTH_BYTES, end)));
      const rest = isComplete ? all.subarray(end) : all;
      this.#chunks = rest.length > 0 ? [rest] : [];
      this.#length = rest.length;
      this.#wanted = isComplete ? LENGTH_BYTES : end;
    }
    return values;
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new FrameError('a frame that is not JSON');
  }
}

/** Reads frames of a socket until it ends or one of them is not understood; `receive` may throw, which counts as the latter. */
export function readFrames(
  socket: Socket,
  limit: number,
  receive: (value: unknown) => void,
  onFault: (error: Error) => void,
): void {
  const reader = new FrameReader(limit);
  const read = (chunk: Buffer): void => {
    try {
      for (const value of reader.read(chunk)) receive(value);
    } catch (error) {
      socket.off('data', read);
      onFault(error as Error);
    }
  };
  socket.on('data', read);
}
