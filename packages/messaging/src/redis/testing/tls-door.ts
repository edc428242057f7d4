/** A door to a server that speaks TLS, of a test's own: it can take connections and never answer their handshakes. */
import { connect, createServer, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { certificate, certificateKey } from './certificate.ts';

export interface TlsDoor {
  readonly url: string;
  /** How many wait for their handshake. */
  readonly held: number;
  /** Closes every connection, and holds whoever comes from here on. */
  hold(): void;
  close(): Promise<void>;
}

export async function tlsDoorTo(url: string): Promise<TlsDoor> {
  const target = new URL(url);
  const sockets = new Set<Socket>();
  const held = new Set<Socket>();
  let isHolding = false;
  const inside = createTlsServer({ cert: certificate, key: certificateKey }, (near) => {
    const far = connect(Number(target.port || '6379'), target.hostname);
    for (const one of [near, far]) one.on('error', () => {});
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
    near.pipe(far).pipe(near);
  });
  const door = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => {
      sockets.delete(socket);
      held.delete(socket);
    });
    if (!isHolding) return void inside.emit('connection', socket);
    held.add(socket);
    // Read, or it would not hear that the other end has gone.
    socket.resume();
  });
  await new Promise<void>((resolve) => door.listen(0, '127.0.0.1', resolve));
  const here = new URL(url);
  here.protocol = 'rediss:';
  here.hostname = '127.0.0.1';
  here.port = String((door.address() as { port: number }).port);
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: here.href,
    get held() {
      return held.size;
    },
    hold() {
      isHolding = true;
      cut();
    },
    close() {
      cut();
      return new Promise((resolve) => door.close(() => resolve()));
    },
  };
}
