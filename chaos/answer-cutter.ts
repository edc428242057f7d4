/**
 * A TCP proxy between the crowd and the server that loses answers: the request reaches the server whole, the answer ends in front of the client. It keeps
 * what it withheld, so that an audit can hold the answer that was lost against the one the client got in the end.
 *
 * It knows as much of HTTP as it needs: one request at a time per connection, answers with a Content-Length.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';

export interface Withheld {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

export interface AnswerCutter {
  readonly url: string;
  /** Answers that the server gave and nobody received; whoever audits them takes them out. */
  readonly withheld: Withheld[];
  /** For each whole answer, the share of its bytes that passes. 1: it is delivered; less: then the connection breaks. */
  fate: () => number;
  /** Where requests go from now on. */
  leadTo(url: string): void;
  close(): Promise<void>;
}

export async function startAnswerCutter(): Promise<AnswerCutter> {
  const sockets = new Set<Socket>();
  let target = { host: '127.0.0.1', port: 0 };
  const follow = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  };
  const cutter: Pick<AnswerCutter, 'fate' | 'withheld'> = { fate: () => 1, withheld: [] };
  const server: Server = createServer((client) => {
    const upstream = connect(target.port, target.host);
    follow(client);
    follow(upstream);
    let pending: Buffer = Buffer.alloc(0);
    client.on('data', (bytes: Buffer) => upstream.write(bytes));
    upstream.on('data', (bytes: Buffer) => {
      pending = Buffer.concat([pending, bytes]);
      for (let answer = wholeAnswer(pending); answer !== null; answer = wholeAnswer(pending)) {
        const passes = Math.floor(answer.length * cutter.fate());
        client.write(pending.subarray(0, passes));
        pending = pending.subarray(answer.length);
        if (passes >= answer.length) continue;
        cutter.withheld.push({ status: answer.status, body: answer.body });
        client.destroySoon();
        upstream.destroy();
        return;
      }
    });
    // A server that dies in the middle of an answer breaks the client's connection, as without a proxy.
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroySoon());
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return Object.assign(cutter, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    leadTo(url: string): void {
      const { hostname, port } = new URL(url);
      target = { host: hostname, port: Number(port) };
    },
    async close(): Promise<void> {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  });
}

interface WholeAnswer extends Withheld {
  /** Head and body, bytes. */
  readonly length: number;
}

/** Null until all of the first answer is there. */
function wholeAnswer(bytes: Buffer): WholeAnswer | null {
  const headEnd = bytes.indexOf('\r\n\r\n');
  if (headEnd < 0) return null;
  const head = bytes.toString('latin1', 0, headEnd);
  const bodyLength = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0);
  const length = headEnd + 4 + bodyLength;
  if (bytes.length < length) return null;
  return {
    length,
    status: Number(head.slice(9, 12)),
    body: JSON.parse(bytes.toString('utf8', headEnd + 4, length) || '{}') as Record<string, unknown>,
  };
}
