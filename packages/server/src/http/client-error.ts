/**
 * Bytes that never became a request: broken HTTP, headers beyond the limit, a client that took too long. Answered as a problem where the
 * socket still takes one, and closed.
 */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { problemTable, problemType, type ProblemSlug } from './problem.ts';

const reasons: Readonly<Record<string, readonly [status: string, slug: ProblemSlug]>> = {
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', 'headers-too-large'],
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'request-invalid'],
};

export function onClientError(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  // What follows a whole request is broken, not that request: a refusal in the place of its answer would call an entry refused that is stored.
  const due = (socket as Socket & { _httpMessage?: ServerResponse | null })._httpMessage;
  if (due?.headersSent) {
    socket.destroy();
    return;
  }
  if (due?.req.complete) {
    due.shouldKeepAlive = false;
    due.once('close', () => socket.destroySoon());
    return;
  }
  const [line, slug] = reasons[error.code ?? ''] ?? ['400 Bad Request', 'request-invalid'];
  const body = JSON.stringify({
    type: problemType(slug),
    title: problemTable[slug].title,
    status: Number(line.slice(0, 3)),
    code: slug,
  });
  const head = `HTTP/1.1 ${line}\r\ncontent-type: application/problem+json; charset=utf-8\r\nconnection: close\r\ncontent-length: ${Buffer.byteLength(body)}`;
  socket.end(`${head}\r\n\r\n${body}`);
  // A sender that never closes its side would hold the socket, and with some thousands of them every place there is.
  socket.destroySoon();
}
