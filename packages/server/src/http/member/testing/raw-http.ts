/** An HTTP client that sends the bytes it is given: what no proper client would send has to be answered too. */
import { connect, type Socket } from 'node:net';

export interface RawAnswer {
  readonly status: number;
  /** Lower-case names in alphabetical order. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Sends the pieces one after the other, each once the one before is on its way, and reads so many answers. */
export async function sendRaw(
  port: number,
  pieces: readonly string[],
  answers = 1,
): Promise<readonly RawAnswer[]> {
  const socket = connect(port, '127.0.0.1');
  socket.setNoDelay(true);
  try {
    const read = readAnswers(socket, answers);
    for (const piece of pieces)
      await new Promise<void>((resolve) => void socket.write(piece, () => resolve()));
    return await read;
  } finally {
    socket.destroy();
  }
}

function readAnswers(socket: Socket, wanted: number): Promise<readonly RawAnswer[]> {
  return new Promise((resolve, reject) => {
    const done: RawAnswer[] = [];
    let rest = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      for (let next = answerIn(rest); next !== null; next = answerIn(rest)) {
        done.push(next.answer);
        rest = rest.subarray(next.end);
      }
      if (done.length >= wanted) resolve(done);
    });
    socket.on('error', reject);
    socket.on('close', () =>
      reject(new Error(`closed after ${done.length} answers and ${rest.length} bytes`)),
    );
  });
}

function answerIn(data: Buffer): { readonly answer: RawAnswer; readonly end: number } | null {
  const head = data.indexOf('\r\n\r\n');
  if (head < 0) return null;
  const [line = '', ...lines] = data.toString('latin1', 0, head).split('\r\n');
  const pairs = lines.map((text) => {
    const at = text.indexOf(': ');
    return [text.slice(0, at).toLowerCase(), text.slice(at + 2)] as const;
  });
  const headers = Object.fromEntries(pairs.toSorted(([a], [b]) => (a < b ? -1 : 1)));
  const end = head + 4 + Number(headers['content-length'] ?? 0);
  if (data.length < end) return null;
  return {
    answer: { status: Number(line.split(' ')[1]), headers, body: data.toString('utf8', head + 4, end) },
    end,
  };
}
