/** For tests: a door on loopback in front of the broker, that can be slammed: every connection through it ends at once, as with a lost network. */
import { createServer, connect, type Socket } from 'node:net';

export interface Cutter {
  /** The broker's address, through the door. */
  readonly url: string;
  /** Ends all connections and says how many there were; new ones are let in. */
  readonly slam: () => number;
  /** Connections stay, and what is sent on them comes to nothing, as with a machine that froze. Resolves with the first that the engine sends then. */
  readonly halt: () => Promise<void>;
  /** Connections stay, and nothing is read from them any more, nor is their end at the broker passed on: what is sent on them piles up, first on the way and then at the sender. */
  readonly clog: () => void;
  readonly close: () => Promise<void>;
}

export async function createCutter(brokerUrl: string): Promise<Cutter> {
  const target = new URL(brokerUrl);
  const sockets = new Set<Socket>();
  const inners = new Set<Socket>();
  /** Their ends are not passed on. */
  const clogged = new WeakSet<Socket>();
  const server = createServer((inner) => {
    inners.add(inner);
    inner.on('close', () => inners.delete(inner));
    const outer = connect(Number(target.port || 5672), target.hostname);
    for (const [one, other] of [
      [inner, outer],
      [outer, inner],
    ] as const) {
      sockets.add(one);
      one.on('error', () => {
        if (!clogged.has(one)) other.destroy();
      });
      one.on('close', () => {
        sockets.delete(one);
        if (!clogged.has(one)) other.destroy();
      });
      one.pipe(other);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('no port');
  const url = new URL(brokerUrl);
  url.hostname = '127.0.0.1';
  url.port = String(address.port);
  const slam = (): number => {
    // Each has two, one to either side.
    const count = Math.ceil(sockets.size / 2);
    for (const socket of sockets) socket.resetAndDestroy();
    return count;
  };
  return {
    url: url.toString(),
    slam,
    halt() {
      for (const socket of sockets) socket.unpipe().resume();
      return new Promise((resolve) => {
        for (const inner of inners) inner.once('data', () => resolve());
      });
    },
    clog() {
      for (const socket of sockets) {
        clogged.add(socket);
        socket.unpipe().pause();
      }
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        slam();
      }),
  };
}
