/**
 * What is written to a socket in one turn goes to the system as one call. amqplib writes each message, acknowledgement and question by itself, and each is a system call: 43% of the
 * processor time of a publisher with 128 publishes in flight. The socket is corked with the first write of a turn and uncorked when that turn's callbacks are done, before
 * anything else is read or any timer fires: nothing waits for anybody.
 *
 * A few small pieces, as an acknowledgement and the question behind it are, are copied into one: a list of them costs the system's call more than the copy.
 *
 * It reaches for the client's socket, which its documentation does not name. Where there is none, each write goes by itself, as before.
 */
import type { ChannelModel } from 'amqplib';
import type { Writable } from 'node:stream';

export function gatherWrites(model: ChannelModel): void {
  const { stream } = model.connection as unknown as { readonly stream?: Writable };
  if (typeof stream?.cork !== 'function') return;
  gather(stream);
  joinSmall(stream);
}

const SMALL_BYTES = 16_384;
/** What Node calls the encoding of a Buffer; a socket takes it for a text under any other name, and the process ends. */
const AS_BYTES = 'buffer' as BufferEncoding;

function joinSmall(stream: Writable): void {
  const writev = stream._writev?.bind(stream);
  if (!writev) return;
  stream._writev = (chunks, done) => {
    const pieces = chunks.map(({ chunk }) => chunk as unknown);
    const bytes = pieces.reduce<number>(
      (sum, one) => sum + (Buffer.isBuffer(one) ? one.length : Infinity),
      0,
    );
    if (bytes > SMALL_BYTES) return writev(chunks, done);
    stream._write(Buffer.concat(pieces as Buffer[], bytes), AS_BYTES, done);
  };
}

function gather(stream: Writable): void {
  const write = stream.write.bind(stream) as (...args: unknown[]) => boolean;
  let gathering = false;
  const release = (): void => {
    gathering = false;
    stream.uncork();
  };
  stream.write = (...args: unknown[]): boolean => {
    if (!gathering) {
      gathering = true;
      stream.cork();
      process.nextTick(release);
    }
    return write(...args);
  };
}
