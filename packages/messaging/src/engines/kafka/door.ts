/**
 * For tests: a door before a broker that counts what goes through it, and can let an answer get lost with its connection: the moment in which a client
 * cannot know whether the broker has done what it was asked. Brokers name their own addresses to a client, so the door is put where the client
 * connects, in this process only; nothing else on the broker notices.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { Connection } from '@platformatic/kafka';

/** Numbers of the protocol. */
export const PRODUCE = 0;

export interface Door {
  /** Requests of this kind that went through so far. */
  count(api: number): number;
  /** The next answer to such a request is not passed on: the broker has given it, and the connection ends. Resolves when that has happened. */
  loseNextAnswer(api: number): Promise<void>;
  close(): Promise<void>;
}

interface Trap {
  readonly api: number;
  readonly sprung: () => void;
}

export async function openDoor(brokerUrl: string): Promise<Door> {
  const { hostname, port } = new URL(brokerUrl);
  const counts = new Map<number, number>();
  const sockets = new Set<Socket>();
  let trap: Trap | undefined;

  const server = createServer((client) => {
    const broker = connect(Number(port), hostname);
    const asked = new Map<number, number>();
    const end = (): void => {
      for (const socket of [client, broker]) socket.destroy();
    };
    for (const socket of [client, broker]) {
      sockets.add(socket);
      socket.once('error', end).once('close', () => {
        sockets.delete(socket);
        end();
      });
    }
    onFrames(client, (frame) => {
      const api = frame.readInt16BE(4);
      counts.set(api, (counts.get(api) ?? 0) + 1);
      asked.set(frame.readInt32BE(8), api);
      broker.write(frame);
    });
    onFrames(broker, (frame) => {
      const correlation = frame.readInt32BE(4);
      const api = asked.get(correlation);
      asked.delete(correlation);
      if (trap === undefined || trap.api !== api) return void client.write(frame);
      const { sprung } = trap;
      trap = undefined;
      end();
      sprung();
    });
  });
  const at = await listening(server);
  const undo = sendThrough(Number(port), at);
  return {
    count: (api) => counts.get(api) ?? 0,
    loseNextAnswer: (api) => new Promise((sprung) => (trap = { api, sprung })),
    async close() {
      undo();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** Requests and answers: four bytes of length, then as many. */
function onFrames(socket: Socket, use: (frame: Buffer) => void): void {
  let rest = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 4 && rest.length >= 4 + rest.readInt32BE(0)) {
      const length = 4 + rest.readInt32BE(0);
      use(rest.subarray(0, length));
      rest = rest.subarray(length);
    }
  });
}

function listening(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port));
  });
}

/** Whoever connects to the broker from now on comes to the door. */
function sendThrough(port: number, door: number): () => void {
  type Connect = (host: string, port: number, ...rest: unknown[]) => unknown;
  const connections = Connection.prototype as unknown as { connect: Connect };
  const original = connections.connect;
  connections.connect = function (this: Connection, host, wanted, ...rest) {
    return original.call(this, host, wanted === port ? door : wanted, ...rest);
  };
  return () => {
    connections.connect = original;
  };
}
