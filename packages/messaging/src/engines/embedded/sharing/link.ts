/** A way to the writer of a shared file: through the hub of this process, or over the socket of the process that hosts it. */
import { createConnection, type Socket } from 'node:net';
import type { Clock } from '../../../clock.ts';
import type { Durability } from '../../../channel.ts';
import { MessagingError } from '../../../errors.ts';
import type { Operation, OperationResult } from '../turn.ts';
import { encodeFrame, readFrames } from './frames.ts';
import type { HandOuts } from './hub.ts';
import { CLIENT_FRAME_BYTES, HOST_FRAME_BYTES, type HostSays, PROTOCOL } from './wire.ts';

export interface Link {
  readonly durability: Durability;
  readonly maxMessageBytes: number;
  /** Undefined when the link ended first: then nobody knows what was done. */
  run(operations: readonly Operation[]): Promise<readonly OperationResult[] | undefined>;
  /** Resolves when the link has ended, by either end. */
  readonly ended: Promise<void>;
  /** Ends it in order: as host it takes leave for all others too. */
  close(): Promise<void>;
}

export const ANSWER_MS = 5_000;
/** A turn waits for the disk; a host that is silent for so long is stopped or stuck, and the link of no use. */
const TURN_MS = 60_000;

export interface DialOptions {
  readonly clock: Clock;
  readonly receive: (handOuts: HandOuts) => void;
  /** For tests that break connections. */
  readonly onSocket?: ((socket: Socket) => void) | undefined;
  /** Aborted: nobody waits for the answer any more. */
  readonly signal?: AbortSignal;
}

/** For whoever gives up on a host that is `silent`. */
export const SILENT_HOST =
  'the process that hosts the file listens and did not answer in time: it or this machine is too busy, or it is stopped';

/** A link to whoever listens. `silent`: somebody does, and gave no answer in time. Rejects with the reason of a host that refused. */
export async function dial(path: string, options: DialOptions): Promise<Link | 'nobody' | 'silent'> {
  const socket = createConnection(path);
  const link = new SocketLink(socket, options);
  let isThere = false;
  socket.once('connect', () => {
    isThere = true;
  });
  options.onSocket?.(socket);
  const giveUp = (): void => void socket.destroy();
  options.signal?.addEventListener('abort', giveUp, { once: true });
  try {
    if (await link.opened) return link;
  } finally {
    options.signal?.removeEventListener('abort', giveUp);
  }
  return isThere ? 'silent' : 'nobody';
}

interface Waiting {
  readonly resolve: (results: readonly OperationResult[] | undefined) => void;
  readonly cancelTimeout: () => void;
}

class SocketLink implements Link {
  durability: Durability = 'none';
  maxMessageBytes = 0;
  readonly ended: Promise<void>;
  /** True when the host said welcome. */
  readonly opened: Promise<boolean>;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #receive: (handOuts: HandOuts) => void;
  readonly #waiting = new Map<number, Waiting>();
  readonly #open = Promise.withResolvers<boolean>();
  #nextTurn = 1;

  constructor(socket: Socket, { clock, receive }: DialOptions) {
    this.#socket = socket;
    this.#clock = clock;
    this.#receive = receive;
    this.opened = this.#open.promise;
    const cancelHello = clock.setTimer(ANSWER_MS, () => socket.destroy());
    this.opened.then(cancelHello, cancelHello);
    this.ended = new Promise((resolve) => socket.once('close', () => resolve()));
    void this.ended.then(() => this.#lose());
    socket.on('error', () => {});
    readFrames(
      socket,
      HOST_FRAME_BYTES,
      (said) => this.#hear(said as HostSays),
      () => socket.destroy(),
    );
    socket.write(encodeFrame({ hello: { protocol: PROTOCOL } }));
  }

  async run(operations: readonly Operation[]): Promise<readonly OperationResult[] | undefined> {
    if (this.#socket.destroyed) {
      // Known to be over before it is told: whoever asks again at once would be answered by this link again, and the event loop would never come to tell it.
      await this.ended;
      return undefined;
    }
    const turn = this.#nextTurn++;
    const frame = encodeFrame({ turn, operations });
    if (frame.length > CLIENT_FRAME_BYTES) return this.#runSingly(operations);
    return new Promise((resolve) => {
      const cancelTimeout = this.#clock.setTimer(TURN_MS, () => this.#socket.destroy());
      this.#waiting.set(turn, { resolve, cancelTimeout });
      this.#socket.write(frame);
    });
  }

  async close(): Promise<void> {
    this.#socket.end();
    // A host that stands still does not hear it.
    const cancel = this.#clock.setTimer(ANSWER_MS, () => this.#socket.destroy());
    await this.ended;
    cancel();
  }

  /** What is too large together may not be alone. */
  async #runSingly(operations: readonly Operation[]): Promise<readonly OperationResult[] | undefined> {
    if (operations.length === 1) return [tooLarge];
    const results: OperationResult[] = [];
    for (const operation of operations) {
      const answer = await this.run([operation]);
      if (!answer) return undefined;
      for (const result of answer) results.push(result);
    }
    return results;
  }

  #hear(said: HostSays): void {
    if ('handOuts' in said) return this.#receive(said.handOuts);
    if ('turn' in said) {
      const waiting = this.#waiting.get(said.turn);
      this.#waiting.delete(said.turn);
      waiting?.cancelTimeout();
      // JSON has no undefined: a result without a value is one.
      return waiting?.resolve(said.results.map((one) => ('error' in one ? one : { value: one.value })));
    }
    if ('welcome' in said) {
      this.durability = said.welcome.durability;
      this.maxMessageBytes = said.welcome.maxMessageBytes;
      return this.#open.resolve(true);
    }
    this.#open.reject(new MessagingError(said.refused.code, said.refused.message));
    this.#socket.destroy();
  }

  #lose(): void {
    this.#open.resolve(false);
    for (const { resolve, cancelTimeout } of this.#waiting.values()) {
      cancelTimeout();
      resolve(undefined);
    }
    this.#waiting.clear();
  }
}

const tooLarge: OperationResult = {
  error: {
    code: 'DB_MSG_MESSAGE_TOO_LARGE',
    message: `one call of more than ${CLIENT_FRAME_BYTES} bytes; publish in smaller batches`,
  },
};
