/** Bytes to the server as they are, for requests that no HTTP client would send, and what came back. */
import { connect, type Socket } from 'node:net';

export interface Exchange {
  /** Statuses in the order of the answers on this connection. */
  readonly statuses: readonly number[];
  readonly text: string;
  /** The server has closed its side. */
  readonly isClosed: boolean;
}

const patienceMs = 60_000;

export function openSocket(url: string): Socket {
  const { hostname, port } = new URL(url);
  // Resets are an answer too.
  return connect(Number(port), hostname).on('error', () => undefined);
}

/** Sends the bytes and reads until the server closes, or until so many answers are there. */
export async function exchange(url: string, bytes: string | Buffer, answers = Infinity): Promise<Exchange> {
  const socket = openSocket(url);
  const over = Promise.withResolvers<boolean>();
  let text = '';
  socket.setTimeout(patienceMs, () =>
    over.reject(new Error(`no end of it after ${patienceMs} ms: ${text.slice(0, 200)}`)),
  );
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    if (statusesIn(text).length >= answers) over.resolve(false);
  });
  socket.once('close', () => over.resolve(true));
  socket.write(bytes);
  const isClosed = await over.promise.finally(() => socket.destroy());
  return { statuses: statusesIn(text), text, isClosed };
}

const statusesIn = (text: string): number[] =>
  [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));

/** A request as text, with the length of its body unless the headers say something about it. */
export function requestText(method: string, path: string, headers: readonly string[], body = ''): string {
  const saysLength = headers.some((header) => /^(content-length|transfer-encoding)/i.test(header));
  const length = body === '' || saysLength ? [] : [`content-length: ${Buffer.byteLength(body)}`];
  return `${[`${method} ${path} HTTP/1.1`, ...headers, ...length].join('\r\n')}\r\n\r\n${body}`;
}
