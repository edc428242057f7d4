/**
 * The host's side of the socket: takes clients, checks every word they say and gives each a session of the hub. Nothing a client does can
 * end the host: what is not understood is refused by name and the connection ends, and its leases with it.
 */
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import type { Clock } from '../../../clock.ts';
import { MessagingError } from '../../../errors.ts';
import { encodeFrame, readFrames } from './frames.ts';
import type { HandOuts, Hub, HubSession } from './hub.ts';
import { ANSWER_MS } from './link.ts';
import { CLIENT_FRAME_BYTES, HOST_FRAME_BYTES, type HostSays, PROTOCOL, readClient } from './wire.ts';

const HELLO_MS = 5_000;
const MOST_CLIENTS = 1_000;
/** A client of this toolkit has two. */
const MOST_TURNS = 64;
/** Unread by a client that reads no more; beyond it the connection ends instead of filling the host's memory. */
const MOST_UNREAD_BYTES = 2 * HOST_FRAME_BYTES;
const HAND_OUT_CHARACTERS = 4 * 2 ** 20;

export interface Host {
  /** Takes no new clients and says good-bye to those that are there, once what they asked is answered. */
  close(): Promise<void>;
  /** Ends all connections at once: the store is lost, and so is every answer. */
  abort(): void;
}

/** Only ever called by who holds the file, so a socket that is there is a dead host's. */
export async function listenOn(path: string, hub: Hub, clock: Clock): Promise<Host> {
  const clients = new Set<HostedClient>();
  const server = createServer((socket) => {
    const client = new HostedClient(socket, hub, clock, () => clients.delete(client));
    clients.add(client);
  });
  server.maxConnections = MOST_CLIENTS;
  await listen(server, path);
  return {
    async close() {
      // Closing removes the socket too, and that is before the file is given up: the next host makes its own.
      server.close();
      await Promise.all([...clients].map((client) => client.dismiss()));
    },
    abort() {
      server.close();
      for (const client of clients) client.abort();
    },
  };
}

async function listen(server: Server, path: string): Promise<void> {
  rmSync(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path, exclusive: true }, resolve);
    // Bound by now: nobody else can have connected to a socket that was writable for its owner only.
    restrict(path);
  }).catch((cause: unknown) => {
    throw new MessagingError('DB_MSG_ENGINE_UNSAFE', `cannot listen on ${path}`, { cause });
  });
  server.on('error', () => {});
}

function restrict(path: string): void {
  try {
    chmodSync(path, 0o600);
  } catch {
    // Not bound: the error event says why.
  }
}

class HostedClient {
  readonly #socket: Socket;
  readonly #hub: Hub;
  readonly #clock: Clock;
  #session: HubSession | undefined;
  readonly #cancelHello: () => void;
  readonly #turns = new Set<Promise<void>>();
  #dismissed = false;

  constructor(socket: Socket, hub: Hub, clock: Clock, onGone: () => void) {
    this.#socket = socket;
    this.#hub = hub;
    this.#clock = clock;
    this.#cancelHello = clock.setTimer(HELLO_MS, () => this.#refuse('said nothing'));
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#cancelHello();
      onGone();
      void this.#session?.end('lose');
    });
    readFrames(
      socket,
      CLIENT_FRAME_BYTES,
      (said) => this.#hear(said),
      (error) => this.#refuse(error.message),
    );
  }

  /** Answers what was asked, gives back what the client held without counting it, and ends. */
  async dismiss(): Promise<void> {
    this.#dismissed = true;
    await Promise.all(this.#turns);
    await this.#session?.end('leave');
    if (this.#socket.closed) return;
    this.#socket.end();
    // A client that stands still does not hear it and never ends its side, which would keep this process.
    const cancel = this.#clock.setTimer(ANSWER_MS, () => this.#socket.destroy());
    this.#socket.once('close', cancel);
  }

  abort(): void {
    this.#socket.destroy();
  }

  #hear(said: unknown): void {
    if (this.#dismissed) return;
    const heard = readClient(said);
    if ('fault' in heard) throw new TypeError(heard.fault);
    if ('hello' in heard) return this.#welcome(heard.hello.protocol);
    if (!this.#session) throw new TypeError('an operation before the hello');
    if (this.#turns.size >= MOST_TURNS) throw new TypeError(`more than ${MOST_TURNS} turns at once`);
    const { turn, operations } = heard;
    const answered = this.#session
      .run(operations)
      .then((results) => this.#say({ turn, results }))
      // An answer that no text can hold: the client asks again, for less or elsewhere.
      .catch(() => this.abort());
    this.#turns.add(answered);
    void answered.finally(() => this.#turns.delete(answered));
  }

  #welcome(protocol: number): void {
    if (this.#session) throw new TypeError('a second hello');
    if (protocol !== PROTOCOL) {
      return this.#refuse(
        `speaks protocol ${protocol}, the host of the file speaks ${PROTOCOL}: run one version of the toolkit on it`,
        'DB_MSG_ENGINE_LOCKED',
      );
    }
    this.#cancelHello();
    const { durability, maxMessageBytes } = this.#hub;
    this.#say({ welcome: { protocol, durability, maxMessageBytes } });
    this.#session = this.#hub.join((handOuts) => this.#handOut(handOuts));
  }

  /** In frames of some size: a large prefetch of large messages would be one that nobody takes. */
  #handOut(handOuts: HandOuts): void {
    for (const { consumer, items } of handOuts) {
      let from = 0;
      let characters = 0;
      items.forEach(({ body }, index) => {
        characters += body.length;
        if (characters < HAND_OUT_CHARACTERS && index < items.length - 1) return;
        this.#say({ handOuts: [{ consumer, items: items.slice(from, index + 1) }] });
        from = index + 1;
        characters = 0;
      });
    }
  }

  #say(said: HostSays): void {
    if (this.#socket.destroyed) return;
    this.#socket.write(frameOf(said));
    if (this.#socket.writableLength > MOST_UNREAD_BYTES) this.#socket.destroy();
  }

  #refuse(message: string, code: 'DB_MSG_MALFORMED' | 'DB_MSG_ENGINE_LOCKED' = 'DB_MSG_MALFORMED'): void {
    if (this.#socket.destroyed) return;
    this.#socket.write(frameOf({ refused: { code, message: message.slice(0, 500) } }));
    this.#socket.destroySoon();
  }
}

/** An answer too large for a frame (a page of very large dead letters) becomes one that says so. */
function frameOf(said: HostSays): Buffer {
  const frame = encodeFrame(said);
  if (frame.length <= HOST_FRAME_BYTES || !('turn' in said)) return frame;
  const error = {
    code: 'DB_MSG_MESSAGE_TOO_LARGE',
    message: 'the answer is too large: ask for fewer at once',
  } as const;
  return encodeFrame({ turn: said.turn, results: said.results.map(() => ({ error })) });
}
